"""Measured runs of VTC and FCFS (arXiv 2401.00588; A10G, Llama-2-7B, S-LoRA) replayed: service of tenants, and its gap.

The artifact reserves prompt and output of a request when it admits it: 512 of 10,000 tokens, so 19 requests run. Step
times are fitted to the pace of the measured runs; what each tenant gets, and when, is not.
"""

from __future__ import annotations

import csv
import gzip

import numpy as np
import pytest

from llmsim.metrics.service import Service, largest_gap_tokens, services, spans_covered
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.vtc import Vtc
from llmsim.testing import LinearSteps, serve
from llmsim.workload.classes import Classes
from llmsim.workload.contract import Workload
from places import DATA, needs

FOLDER = DATA / "groundtruth" / "vtc"
A10G = LinearSteps(step_s=0.0315, prefill_token_s=0.00023, context_token_s=1e-6)
SEATS, BLOCKS = 19, 625
BOUND_TOKENS = 2 * 2 * 10_000

pytestmark = needs("groundtruth/vtc")


def read(name):
    with gzip.open(FOLDER / f"{name}.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    return {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}


def measured(run):
    """Service of each client, output tokens spread evenly from the first to the last."""
    first_s, last_s = run["arrival_s"] + run["ttft_s"], run["arrival_s"] + run["e2e_s"]
    out = []
    for client in np.unique(run["client"]):
        mine = np.flatnonzero(run["client"] == client)
        tokens = [np.linspace(first_s[i], last_s[i], int(run["output_tokens"][i])) for i in mine]
        times_s = np.concatenate([first_s[mine], *tokens])
        amounts = np.concatenate([run["prompt_tokens"][mine], np.full(len(times_s) - len(mine), 2.0)])
        order = np.argsort(times_s, kind="stable")
        waits_s = spans_covered(run["arrival_s"][mine], first_s[mine], 1)
        out.append(Service(times_s[order], np.cumsum(amounts[order]), waits_s))
    return out


def replayed(run, scheduler):
    order = np.argsort(run["arrival_s"], kind="stable")
    columns = [run[key][order] for key in ("arrival_s", "prompt_tokens", "output_tokens")]
    client = run["client"][order].astype(int)
    classes = Classes(client, tuple(map(str, range(client.max() + 1))), (0,) * (client.max() + 1))
    requests = Workload(columns[0], *(column.astype(int) for column in columns[1:]), "replayed", classes=classes)
    record = serve(requests, scheduler, latency=A10G, num_gpu_blocks=BLOCKS)
    return record, services(record, record.requests["class"], len(classes.names))


@pytest.fixture(scope="module")
def both():
    runs = {}
    for name, scheduler in (("VTC_overload", Vtc), ("FCFS_overload", ChunkedPrefill)):
        run = read(name)
        record, service = replayed(run, scheduler(max_num_seqs=SEATS))
        runs[name] = run, measured(run), record, service
    return runs


@pytest.mark.parametrize("name", ["VTC_overload", "FCFS_overload"])
def test_tenants_are_served_as_much_as_was_measured(both, name):
    run, was, record, service = both[name]
    end_s = np.array([run["arrival_s"].max()])

    assert record.end_s == pytest.approx((run["arrival_s"] + run["e2e_s"]).max(), rel=0.03)
    for one, other in zip(was, service, strict=True):
        assert other.by(end_s)[0] == pytest.approx(one.by(end_s)[0], rel=0.035)


def test_the_gap_of_fcfs_is_the_measured_one_and_that_of_vtc_is_within_its_bound(both):
    """Measured: 14,209 tokens by the authors' count, 685,476 by ours. VTC's is smaller here than it was there."""
    (_, vtc, _, vtc_here), (_, fcfs, _, fcfs_here) = both["VTC_overload"], both["FCFS_overload"]

    assert largest_gap_tokens(*vtc) == pytest.approx(14_209, rel=0.02)
    assert largest_gap_tokens(*fcfs_here) == pytest.approx(largest_gap_tokens(*fcfs), rel=0.02)
    assert largest_gap_tokens(*vtc_here) < largest_gap_tokens(*vtc) < BOUND_TOKENS
    assert largest_gap_tokens(*fcfs_here) > 100 * largest_gap_tokens(*vtc_here)
