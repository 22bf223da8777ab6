"""`validate vtc` on made-up runs: its reader, its fit of step times, and the memory that its engine counts on."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.latency.fitted import Fitted
from llmsim.request import Request
from llmsim.studies.validation.cases import vtc
from llmsim.studies.validation.slora import peak_tokens
from llmsim.studies.validation.vtc_runs import TenantsRun, fit_steps, read_run

STEPS = Fitted((0.03, 2e-4, 0.0), (0.025, 1e-6, 2e-4), (0.025, 1e-6, 2e-4), large_batch=1)


def run(requests, rate_per_s=3.0):
    rng = np.random.default_rng(1)
    arrival_s = np.cumsum(rng.exponential(1 / rate_per_s, requests))
    prompt, output = rng.integers(50, 400, requests), rng.integers(2, 400, requests)
    nothing = np.zeros(requests)
    return TenantsRun("made up", rng.integers(0, 3, requests), arrival_s, prompt, output, nothing, nothing)


def test_the_fit_finds_the_step_times_that_made_a_run():
    made = vtc.replayed(run(400), vtc.Setup("made up", "one", None), STEPS)
    found, rms_s = fit_steps(made)

    for step, rel in ((([], 15, 4000), 0.03), (([], 30, 9000), 0.03), (([(0, 300)], 0, 0), 0.1)):
        assert found.step_time_s(*step) == pytest.approx(STEPS.step_time_s(*step), rel=rel)
    assert rms_s < 0.1


def test_a_fair_queue_keeps_the_gap_of_a_made_up_run_within_the_bound_and_arrivals_do_not():
    fair, first = (vtc.replayed(run(400), vtc.Setup("made up", "one", charges), STEPS) for charges in (vtc.FAIR, None))

    assert fair.largest_gap_tokens() < vtc.BOUND_TOKENS
    assert fair.largest_gap_tokens() != first.largest_gap_tokens()


def brute_peak(requests):
    """Step by step: the tokens in memory until all have ended."""
    left = [request.max_tokens - 1 for request in requests]
    held = [request.prompt_tokens + 1 for request in requests]
    most = 0
    for step in range(1, max(left) + 1):
        most = max(most, sum(h + step for h, n in zip(held, left, strict=True) if n >= step))
    return most


def test_the_peak_of_memory_is_that_of_serving_all_to_their_end():
    rng = np.random.default_rng(0)
    for _ in range(20):
        requests = [Request(i, 0.0, int(rng.integers(1, 500))) for i in range(int(rng.integers(1, 12)))]
        for request in requests:
            request.max_tokens = int(rng.integers(2, 300))

        assert peak_tokens(requests) == brute_peak(requests)


def test_runs_are_read_in_order_without_what_was_refused(tmp_path):
    folder = tmp_path / "groundtruth" / "vtc"
    folder.mkdir(parents=True)
    head = "client,arrival_s,prompt_tokens,output_tokens,ttft_s,e2e_s\n"
    with gzip.open(folder / "one.csv.gz", "wt") as file:
        file.write(head + "1,2.0,10,4,0.5,1.0\n0,1.0,20,2,0.25,0.5\n0,1.5,20,2,-1,-1\n")
    found = read_run(tmp_path, "one")

    assert (found.arrival_s.tolist(), found.client.tolist(), found.refused, found.end_s) == ([1.0, 2.0], [0, 1], 1, 3.0)
    with pytest.raises(InputError, match=r"two.csv.gz: No such file"):
        read_run(tmp_path, "two")
    with gzip.open(folder / "two.csv.gz", "wt") as file:
        file.write("client,arrival_s\n1,2.0\n")
    with pytest.raises(InputError, match="expected the columns client, arrival_s, prompt_tokens"):
        read_run(tmp_path, "two")
