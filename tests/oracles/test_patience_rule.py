"""When users leave, found again from the token times alone: in the first wait that outlasts their patience."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.abandonment import Abandoning, Deadlines
from llmsim.request import Outcome
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.fcfs import Fcfs
from llmsim.schedulers.static import Static
from llmsim.schedulers.token_delay import TokenDelay
from llmsim.testing import LinearSteps, serve
from llmsim.workload.contract import Workload
from llmsim.workload.patience import Patience

SCHEDULERS = [
    ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=6),
    Fcfs(),
    Static(max_num_seqs=4),
    TokenDelay(tokens_per_s=4.0, lead_tokens=2),
    Abandoning(ChunkedPrefill(), Deadlines(1.0, 3.0)),
]
#: round numbers, so that tokens come at the very end of somebody's patience; and others
LATENCIES = [(0.125, LinearSteps(0.125, 0.0)), (0.0173, LinearSteps(0.0101, 0.0013, 0.0037, 1.7e-6))]


def runs_out_s(arrival_s, tokens_s, first_s, next_s):
    """When patience ends: a token that comes at that very moment is in time."""
    since_s, wait_s = arrival_s, first_s
    for token_s in (*tokens_s, np.inf):
        if token_s > since_s + wait_s:
            return since_s + wait_s
        since_s, wait_s = token_s, next_s
    return np.inf


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(("gap_s", "latency"), LATENCIES)
def test_users_leave_when_their_patience_ends_and_only_then(scheduler, gap_s, latency):
    left = 0
    for seed in range(8):
        rng, n = np.random.default_rng(seed), 25
        arrival_s = np.cumsum(rng.integers(0, 3, n) * gap_s)
        requests = Workload(arrival_s, rng.integers(1, 150, n), rng.integers(1, 70, n), "drawn")
        first_s = rng.choice([0.25, 0.5, 1.0, 3.0, np.inf], n)
        next_s = rng.choice([0.125, 0.25, 0.375, 1.0, np.inf], n)
        patience = Patience(first_s, next_s, (0.0, 0.125, 0.3)[seed % 3])
        until_s = np.inf if seed % 4 else 2.1
        came = arrival_s < until_s
        record = serve(
            requests,
            scheduler,
            latency=latency,
            num_gpu_blocks=20,
            instances=1 + seed % 2,
            patience=patience,
            until_s=until_s if seed % 4 == 0 else None,
        )
        timelines, ran = record.timelines(), record.requests
        for id in np.flatnonzero(came):
            ends_s = runs_out_s(arrival_s[id], timelines.token_times_s(id), first_s[id], next_s[id])
            if not np.isnan(ran["left_s"][id]):
                assert ran["left_s"][id] == ends_s
                assert ran["outcome"][id] == Outcome.CANCELLED
                left += 1
            else:
                assert ran["outcome"][id] != Outcome.CANCELLED
                assert ran["end_s"][id] <= ends_s, "out of patience, and still there"
    assert left > 20
