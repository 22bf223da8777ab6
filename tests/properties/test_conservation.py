"""Every scheduler behind every router: tokens conserved, memory whole again, time monotone, one outcome per request.

`serve` checks each record (testing.check_record) and that the instances are empty afterwards; what is asserted here
comes on top. Stretches against single steps are the business of test_stretches.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim import discovery
from llmsim.engine.memory import KVMemory
from llmsim.request import Outcome
from llmsim.router import Router
from llmsim.scheduler import Scheduler
from llmsim.testing import LinearSteps, serve, with_guesses
from llmsim.testing.builders import accepting, drafting
from llmsim.workload.contract import Workload

SCHEDULERS = discovery.names("llmsim.schedulers")
ROUTERS = discovery.names("llmsim.routers")
MAX_MODEL_LEN = 400


@st.composite
def workloads(draw):
    """Floods and trickles; now and then somebody who asks for more than there can be."""
    n = draw(st.integers(1, 25))
    gap_s = draw(st.sampled_from([0.0, 0.01, 0.2, 5.0]))
    arrival_s = np.cumsum(draw(st.lists(st.floats(0, 1), min_size=n, max_size=n))) * gap_s
    prompts = draw(st.lists(st.integers(1, MAX_MODEL_LEN), min_size=n, max_size=n))
    outputs = draw(st.lists(st.integers(1, 80), min_size=n, max_size=n))
    return with_guesses(Workload(arrival_s, np.array(prompts), np.array(outputs), "hypothesis"))


class Watched(KVMemory):
    """Memory that remembers the least it ever had free."""

    __slots__ = ()
    least_free = 0

    def take(self, blocks):
        super().take(blocks)
        Watched.least_free = min(Watched.least_free, self.free_blocks, blocks)

    def give_back(self, blocks):
        super().give_back(blocks)
        Watched.least_free = min(Watched.least_free, blocks)


@pytest.fixture(scope="module", autouse=True)
def _watch_memory():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmsim.cluster.build.KVMemory", Watched)
        yield


@pytest.mark.parametrize("name", SCHEDULERS)
@settings(max_examples=40, deadline=None)
@given(
    requests=workloads(),
    router=st.sampled_from(ROUTERS),
    instances=st.integers(1, 4),
    blocks=st.integers(10, 60),
    until_s=st.sampled_from([None, None, 0.7]),
    drafts=st.booleans(),
)
def test_nothing_is_lost_and_nothing_appears(name, requests, router, instances, blocks, until_s, drafts):
    Watched.least_free = 0
    if until_s is not None and requests.arrival_s[0] >= until_s:
        until_s = None
    latency, speculation = LinearSteps(0.01, 0.0001, 0.0003, 1e-6), None
    scheduler = discovery.find("llmsim.schedulers", name, Scheduler)()
    if scheduler.needs_speculation or (scheduler.chooses_drafts and drafts):
        speculation = drafting(latency)
        requests = accepting(requests, np.random.default_rng(len(requests)), speculation.most)
    record = serve(
        requests,
        scheduler,
        latency=latency,
        speculation=speculation,
        num_gpu_blocks=blocks,
        max_model_len=MAX_MODEL_LEN,
        instances=instances,
        router=discovery.find("llmsim.routers", router, Router)(),
        until_s=until_s,
    )
    came, outcome = record.requests, record.requests["outcome"]
    never = came["prompt_tokens"] + came["output_tokens"] > MAX_MODEL_LEN
    never |= -(-(came["prompt_tokens"] + came["output_tokens"] - 1) // 16) > blocks

    assert Watched.least_free == 0, "memory below zero, or handed out in negative numbers"
    assert len(outcome) == (len(requests) if until_s is None else (requests.arrival_s < until_s).sum())
    assert (outcome[never] == Outcome.REJECTED).all()
    assert (outcome[~never & (outcome != Outcome.REJECTED)] == Outcome.FINISHED).all() or until_s is not None
    assert (came["reason"] > 0).tolist() == (outcome == Outcome.REJECTED).tolist()
    assert (np.bincount(came["instance"], minlength=instances)).sum() == len(outcome)
    assert record.steps["prefill_tokens"].sum() <= (came["prompt_tokens"] + came["output_tokens"]).sum() * (
        1 + came["preemptions"].max()
    )
