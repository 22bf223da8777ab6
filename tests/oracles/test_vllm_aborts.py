"""Users that leave, against a naive engine with vLLM's blocks: what is freed, what stays findable, who runs next."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmsim.cluster import RunOptions, simulate
from llmsim.request import Outcome
from llmsim.routers.round_robin import RoundRobin
from llmsim.studies.validation.cases.vllm_decisions import spec_of
from llmsim.studies.validation.decision_runs import TICK_S, TickedSteps, VllmRun, VllmSettings, workload_of
from llmsim.workload.asked import exactly
from llmsim.workload.patience import Patience
from tests.oracles.vllm_naive import Engine
from tests.oracles.vllm_workloads import drawn

COLUMNS = ("first_scheduled_s", "first_token_s", "end_s")


def both(seed, asynchronous, stretches, **fixed):
    """[first scheduled, first token, end, preemptions] of each request, in ticks: naively, and as ours serves them."""
    settings, times, requests = drawn(seed, **fixed)
    rng = np.random.default_rng(seed)
    count = len(requests)
    # half ticks: no user leaves at the very moment at which a step ends
    first, following = (rng.integers(least, most, count) + 0.5 for least, most in ((2e4, 4e6), (5e3, 2e5)))
    following[rng.random(count) < 0.5] = np.inf
    engine = Engine(settings, times, requests, list(zip(first, following, strict=True))).run(1 + asynchronous)
    load = workload_of("drawn", requests)
    run = VllmRun("drawn", VllmSettings(**settings), TickedSteps(**times), load, [], [], [])
    record = simulate(
        replace(load, asked=exactly(load.output_tokens)),
        [replace(spec_of(run), async_scheduling=asynchronous)],
        RoundRobin(),
        np.random.default_rng(0),
        RunOptions(stretches=stretches, patience=Patience(first * TICK_S, following * TICK_S)),
    )
    ours = np.stack([record.requests[name] / TICK_S for name in COLUMNS] + [record.requests["preemptions"]], axis=1)
    theirs = np.array(
        [[*map(_known, (r.first_scheduled, r.first_token, r.end)), r.preemptions] for r in engine.requests]
    )
    return theirs, ours, int(np.sum(record.requests["outcome"] == Outcome.CANCELLED))


def _known(tick):
    return np.nan if tick is None else float(tick)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("policy", ["fcfs", "priority"])
def test_users_that_leave_under_caching(policy, asynchronous):
    left = 0
    for seed in range(100, 108):
        theirs, ours, cancelled = both(seed, asynchronous, stretches=seed % 2 == 0, policy=policy, prefix_caching=True)
        np.testing.assert_array_equal(ours, theirs, err_msg=f"seed {seed}")
        left += cancelled
    assert left > 20
