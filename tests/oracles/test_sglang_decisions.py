"""Our SGLang against SGLang's own scheduler, step by step: recorded decisions, and random workloads against rules."""

from __future__ import annotations

import pytest

from llmsim.studies.validation import validate
from llmsim.studies.validation.decision_runs import Fate, TickedSteps, spelled_out
from llmsim.studies.validation.sglang_replay import DIGITS, compare_run
from llmsim.studies.validation.sglang_runs import Batch, SglangRun, SglangSettings, Step, workload_of
from tests.oracles.sglang_naive import Naive, Settings
from tests.oracles.sglang_peers import WORKLOADS, peers
from tests.oracles.sglang_workloads import drawn
from tests.places import DATA, cases, needs

RATIO = 12  # place of new_token_ratio in a step


def naive(workload, overlap=False):
    settings = Settings(**workload["settings"])
    return Naive(settings, workload["step_time_ticks"], workload["requests"], overlap).run()


@needs("peers/sglang")
def test_the_naive_scheduler_decides_as_sglang_does():
    """What random workloads are compared with below is itself equal to SGLang: every step and every request."""
    for workload in peers():
        steps, outcome = naive(workload)
        for number, (ours, theirs) in enumerate(zip(steps, workload["steps"], strict=True)):
            where = workload["id"], number
            assert theirs[RATIO] is None or abs(ours[RATIO] - theirs[RATIO]) < 2e-9, where
            assert ours[:RATIO] + ours[RATIO + 1 :] == theirs[:RATIO] + theirs[RATIO + 1 :], where
        assert outcome == workload["outcome"], workload["id"]


@needs("peers/sglang")
def test_the_naive_scheduler_overlaps_as_sglang_does():
    for workload in peers():
        batches, outcome = naive(workload, overlap=True)
        assert batches == workload["overlap_batches"], workload["id"]
        assert outcome == workload["overlap_outcome"], workload["id"]


@needs("peers/sglang")
def test_decisions_agree_with_sglang():
    report = validate("sglang-decisions", DATA)
    total = report.rows[-1]

    assert report.passed
    assert total["workloads"] == total["same_steps"] == total["same_outcome"] == WORKLOADS
    assert total["same_batches_overlapped"] == total["same_outcome_overlapped"] == WORKLOADS
    assert total["steps_of_sglang"] > 10_000


def compared(seed, **fixed):
    """A random workload as the naive scheduler and ours serve it."""
    settings, times, requests = drawn(seed, **fixed)
    steps, outcome = Naive(Settings(**settings), times, requests).run()
    batches, overlap_outcome = Naive(Settings(**settings), times, requests, overlap=True).run()
    steps = [[*step[:RATIO], round(step[RATIO], DIGITS), step[-1]] for step in steps]
    return compare_run(
        SglangRun(
            f"drawn-{seed}",
            SglangSettings(**settings),
            TickedSteps(**times),
            workload_of("drawn", requests),
            spelled_out(steps, Step),
            [Fate(*fate) for fate in outcome],
            [Batch(*batch) for batch in batches],
            [Fate(*fate) for fate in overlap_outcome],
        )
    )


@pytest.mark.parametrize("seed", range(cases(16)))
@pytest.mark.parametrize("policy", ["fcfs", "lpm"])
def test_random_workloads_with_the_radix_cache(seed, policy):
    assert compared(seed, radix_cache=True, schedule_policy=policy).first is None


@pytest.mark.parametrize("seed", range(cases(16)))
def test_random_workloads_without_it(seed):
    assert compared(seed, radix_cache=False).first is None
