"""Measured runs of VTC and FCFS (arXiv 2401.00588; A10G, Llama-2-7B, S-LoRA) replayed: service of tenants, and its gap.

Two of the nineteen of `llmsim validate vtc`, and one in an engine that refills each seat when it is free.
"""

from __future__ import annotations

import pytest

from llmsim.schedulers.vtc import Vtc
from llmsim.studies.validation.cases import vtc
from llmsim.studies.validation.vtc_runs import fit_steps, read_run
from llmsim.testing import serve
from llmsim.workload.classes import Classes
from llmsim.workload.contract import Workload
from places import DATA, needs

pytestmark = needs("groundtruth/vtc")
SETUPS = {setup.name: setup for setup in vtc.RUNS}
TWO = ("VTC_overload", "FCFS_overload")


@pytest.fixture(scope="module")
def steps():
    latency, rms_s = fit_steps(read_run(DATA, vtc.FITTED_ON))
    assert rms_s < 0.1  # of 15 s each
    return latency


@pytest.fixture(scope="module")
def both(steps):
    runs = {name: read_run(DATA, name) for name in TWO}
    return {name: (run, vtc.replayed(run, SETUPS[name], steps)) for name, run in runs.items()}


@pytest.mark.parametrize("name", TWO)
def test_the_gap_is_the_measured_one(both, name):
    """Measured: 14,209 tokens by the authors' count of VTC, 14,374 by ours; 685,476 of first come, first served."""
    measured, replayed = both[name]

    assert replayed.end_s == pytest.approx(measured.end_s, rel=0.05)
    assert replayed.largest_gap_tokens() == pytest.approx(measured.largest_gap_tokens(), rel=0.1)


def test_gaps_of_vtc_are_within_its_bound_and_as_the_authors_count_them(both):
    measured, replayed = both["VTC_overload"]

    assert measured.largest_gap_tokens() == pytest.approx(14_209, rel=0.02)
    assert replayed.largest_gap_tokens() < vtc.BOUND_TOKENS


def test_where_each_seat_is_refilled_when_it_is_free_the_gap_is_smaller(both, steps):
    """So the gap is that of requests that are replaced together; 19 requests of 512 tokens fit in the pool."""
    run, _ = both["VTC_overload"]
    classes = Classes(run.client, ("a", "b"), (0, 0), ("a", "b"))
    columns = (run.arrival_s, run.prompt_tokens, run.output_tokens)
    record = serve(
        Workload(*columns, run.name, classes=classes), Vtc(max_num_seqs=19), latency=steps, num_gpu_blocks=625
    )
    waits_s = [record.requests[name] - run.arrival_s for name in ("first_token_s", "end_s")]

    assert run.served(*waits_s).largest_gap_tokens() < 0.5 * run.largest_gap_tokens()
