"""Users who wait for their answers, against the theory of closed queues; GPU seconds against what must add up."""

from __future__ import annotations

from math import factorial

import numpy as np
import pytest

from llmsim.latency.sources.constant import Constant
from llmsim.metrics import gpu_time
from llmsim.request import Outcome
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import LinearSteps, serve
from llmsim.workload.contract import Workload
from llmsim.workload.conversations import Number, Plan, Wait, converse
from llmsim.workload.length_source import LengthSource
from llmsim.workload.patience import Patience
from llmsim.workload.retries import Retries, draw_backoffs
from llmsim.workload.streams import streams

TOKEN_S = 0.001
SERVICE_S = 1.0  # mean of the exponential work of a request, all of it in its prompt


class ExponentialWork(LengthSource):
    def tokens(self, rng, requests):
        prompt = np.ceil(rng.exponential(SERVICE_S / TOKEN_S - 0.5, requests)).astype(np.int64)
        return prompt, np.ones(requests, dtype=np.int64)


def closed(users, pause_s, n, seed=1):
    plan = Plan(turns=Number(1, "fixed"), think=Wait(1.0), pause=Wait(pause_s), history=False)
    requests = converse(streams(seed), plan, requests=n, begin=users, lengths=ExponentialWork())
    latency = Constant(step_s=0.0, prefill_token_s=TOKEN_S, decode_seq_s=1.0)
    until_s = 0.9 * n * max(SERVICE_S, (pause_s + SERVICE_S) / users)
    one_seat = ChunkedPrefill(max_num_seqs=1, max_num_batched_tokens=10**6)
    return serve(requests, one_seat, latency=latency, num_gpu_blocks=10_000, until_s=until_s)


def repairman_per_s(users, pause_s):
    """Throughput of N users with exponential think time Z at one exponential server: the machine repairman model."""
    weight = [factorial(users) / factorial(users - k) * (SERVICE_S / pause_s) ** k for k in range(users + 1)]
    return (1 - 1 / sum(weight)) / SERVICE_S


@pytest.mark.parametrize(("users", "pause_s"), [(1, 2.0), (5, 8.0), (20, 10.0)])
def test_closed_loop_users_are_as_fast_as_the_machine_repairman_model_says(users, pause_s):
    record = closed(users, pause_s, 8000)
    rows = record.requests
    done = rows["outcome"] == Outcome.FINISHED
    per_s = done.sum() / record.end_s

    assert per_s == pytest.approx(repairman_per_s(users, pause_s), rel=0.03)


def test_interactive_response_time_law():
    users, pause_s = 12, 9.0
    record = closed(users, pause_s, 6000)
    rows = record.requests
    done = rows["outcome"] == Outcome.FINISHED
    per_s = done.sum() / record.end_s
    response_s = (rows["end_s"] - rows["arrival_s"])[done].mean()

    assert response_s > 2 * SERVICE_S  # they do wait for each other
    assert per_s == pytest.approx(users / (response_s + pause_s), rel=0.02)  # X = N / (R + Z)


def test_users_that_cannot_wait_try_as_often_as_allowed_and_waste_every_attempt():
    """Far apart, all attempts at a request are alike: one for each who can wait for 1 s, `attempts` for the others."""
    n, attempts = 400, 4
    rng = np.random.default_rng(3)
    waits = rng.random(n) < 0.7
    requests = Workload(np.arange(n) * 20.0, np.full(n, 10), np.full(n, 1), "far apart")
    patience = Patience(np.where(waits, 2.0, 0.5), np.full(n, np.inf))
    backoffs_s = draw_backoffs(rng, n, max_attempts=attempts, backoff_s=1.0, factor=1.0, max_backoff_s=1.0, jitter=0.0)
    record = serve(
        requests, ChunkedPrefill(), latency=LinearSteps(1.0, 0.0), patience=patience, retries=Retries(backoffs_s)
    )

    assert len(record.requests["attempt"]) == waits.sum() + attempts * (~waits).sum()
    assert (record.requests["outcome"] == Outcome.FINISHED).sum() == waits.sum()
    # each attempt of 1 s computes to its end, since a step is atomic; those of users who left are thrown away
    assert gpu_time.wasted_gpu_s(record, [1]) == pytest.approx(attempts * (~waits).sum() * 1.0)
    assert gpu_time.busy_gpu_s(record, [1]) == pytest.approx(len(record.requests["attempt"]) * 1.0)


@pytest.mark.parametrize("blocks", [25, 1000])
@pytest.mark.parametrize("prefix_caching", [False, True])
def test_the_time_spent_on_requests_adds_up_to_the_time_in_steps(blocks, prefix_caching):
    rng = np.random.default_rng(4)
    plan = Plan(turns=Number(3), think=Wait(0.5), max_context_tokens=300)

    class Lengths(LengthSource):
        def tokens(self, rng, requests):
            return rng.integers(1, 60, requests), rng.integers(1, 60, requests)

    requests = converse(streams(4), plan, requests=120, begin=9, lengths=Lengths())
    patience = Patience(rng.exponential(3.0 if blocks == 25 else 0.1, 120), np.full(120, np.inf))
    latency = LinearSteps(0.0101, 0.00013, 0.00037, 1.7e-6)
    scheduler = ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=16)
    record = serve(
        requests,
        scheduler,
        latency=latency,
        num_gpu_blocks=blocks,
        instances=2,
        patience=patience,
        prefix_caching=prefix_caching,
    )
    spent_s = gpu_time.spent_gpu_s(record, [1, 1])

    assert (record.requests["preemptions"].sum() > 0) == (blocks == 25)
    assert spent_s.sum() == pytest.approx(gpu_time.busy_gpu_s(record, [1, 1]), rel=1e-9)
    assert (spent_s >= record.requests["recomputed_gpu_s"]).all()
    assert 0 < gpu_time.wasted_gpu_s(record, [1, 1]) < gpu_time.busy_gpu_s(record, [1, 1])


def test_backoffs_double_up_to_their_bound_and_jitter_shortens_them_evenly():
    options = {"max_attempts": 6, "backoff_s": 0.5, "factor": 2.0, "max_backoff_s": 3.0}
    fixed = draw_backoffs(np.random.default_rng(1), 2, **options, jitter=0.0)
    drawn = draw_backoffs(np.random.default_rng(1), 20_000, **options, jitter=0.5)

    assert fixed.tolist() == [[0.5, 1.0, 2.0, 3.0, 3.0]] * 2
    assert drawn.mean(axis=0) == pytest.approx(fixed[0] * 0.75, rel=0.01)  # uniform on [1 - jitter, 1]
    assert (drawn > fixed[0] * 0.5).all()
    assert (drawn <= fixed[0]).all()
