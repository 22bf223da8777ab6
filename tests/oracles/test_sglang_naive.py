"""What the naive SGLang decides equals what SGLang's own scheduler decided, in every step and to the tick."""

from __future__ import annotations

import pytest
from sglang_naive import Naive, Settings
from sglang_peers import WORKLOADS, read

pytestmark = pytest.mark.skipif(not WORKLOADS, reason="needs peers/sglang of the evaluation data (LLMSIM_DATA)")
RATIO = 12  # place of new_token_ratio in a step


@pytest.mark.parametrize("path", WORKLOADS, ids=lambda path: path.stem)
def test_every_synchronous_decision_and_outcome(path):
    workload = read(path)
    steps, outcome = Naive(Settings(**workload["settings"]), workload["step_time_ticks"], workload["requests"]).run()

    for number, (ours, theirs) in enumerate(zip(steps, workload["steps"], strict=True)):
        assert theirs[RATIO] is None or abs(ours[RATIO] - theirs[RATIO]) < 2e-9, number
        assert ours[:RATIO] + ours[RATIO + 1 :] == theirs[:RATIO] + theirs[RATIO + 1 :], number
    assert outcome == workload["outcome"]


@pytest.mark.parametrize("path", WORKLOADS, ids=lambda path: path.stem)
def test_every_batch_and_outcome_with_the_overlap_schedule(path):
    workload = read(path)
    naive = Naive(Settings(**workload["settings"]), workload["step_time_ticks"], workload["requests"], overlap=True)
    batches, outcome = naive.run()

    assert batches == workload["overlap_batches"]
    assert outcome == workload["overlap_outcome"]
