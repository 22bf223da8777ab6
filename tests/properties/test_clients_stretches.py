"""Clients who wait for each other across instances: stretches and single steps give the same record, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.abandonment import Abandoning, Deadlines
from llmsim.cluster.clients import DIRECT, ApiPath
from llmsim.routers.least_outstanding import LeastOutstanding
from llmsim.routers.power_of_two import PowerOfTwo
from llmsim.routers.random import Random
from llmsim.routers.round_robin import RoundRobin
from llmsim.scheduler import Decision, Scheduler
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.fcfs import Fcfs
from llmsim.schedulers.static import Static
from llmsim.testing import LinearSteps, same, serve_both_ways
from llmsim.workload.contract import Workload
from llmsim.workload.patience import Patience
from tests.places import cases
from tests.properties.asynchronous import ASYNC, declared


class GivesUpBesides(Scheduler):
    """Decodes on in the very step in which it gives one request up, whose client may send the next one at once."""

    def schedule(self, view):
        running = list(view.running)
        late = frozenset(r.id for r in running if r.emitted_tokens == 5 and r.id % 2)
        spare = 8 if running else 0  # alone, any that the instance has not rejected fits
        fits = [r for r in view.waiting if view.blocks_for(r.tokens_to_prefill) + spare <= view.free_blocks][:1]
        room = len(running) < 3 and view.num_prefilling == 0
        soon = any(r.id % 2 and r.emitted_tokens < 5 for r in running)
        prefill = {r.id: r.tokens_to_prefill for r in fits if room}
        return Decision(prefill, abandon=late, review_at_s=view.now_s if soon else None)


#: constant step times make the boundaries of all instances coincide, all the time
CONSTANT = LinearSteps(0.125, 0.0)
LATENCIES = [CONSTANT, CONSTANT, LinearSteps(0.0101, 0.00013, 0.00037, 1.7e-6)]
SCHEDULERS = [
    ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=3),
    ChunkedPrefill(),
    Fcfs(max_num_batched_tokens=200, max_num_seqs=5, watermark=0.0),
    Static(max_num_seqs=2),
    Abandoning(ChunkedPrefill(), Deadlines(ttft_s=0.25), foresee=CONSTANT),
    Abandoning(Fcfs(), Deadlines(e2e_s=2.0)),
    GivesUpBesides(),
]
ROUTERS = [RoundRobin(), Random(), LeastOutstanding(), PowerOfTwo()]
PATHS = [DIRECT, DIRECT, ApiPath(request_s=0.125), ApiPath(0.02, 0.001, 0.125), ApiPath(response_s=0.25)]


@st.composite
def workloads(draw):
    n = draw(st.integers(1, 30))
    gap_s = draw(st.sampled_from([0.0, 0.0, 0.125, 0.0173]))
    gaps = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    prompts = draw(st.lists(st.integers(1, 150), min_size=n, max_size=n))
    outputs = draw(st.lists(st.integers(1, 40), min_size=n, max_size=n))
    arrival_s = np.cumsum(np.array([0, *gaps[1:]]) * gap_s)
    return Workload(arrival_s, np.array(prompts), np.array(outputs), "hypothesis")


@settings(max_examples=cases(120), deadline=None)
@given(
    requests=workloads(),
    scheduler=st.sampled_from(SCHEDULERS),
    latency=st.sampled_from(LATENCIES),
    blocks=st.integers(14, 60),
    max_model_len=st.sampled_from([100, 1000]),
    router=st.sampled_from(ROUTERS),
    instances=st.integers(1, 4),
    max_in_flight=st.integers(1, 9),
    api=st.sampled_from(PATHS),
    until_s=st.sampled_from([None, None, 1.0, 3.3]),
    patience=st.sampled_from([None, None, (0.5, 0.25, 0.0), (1.01, np.inf, 0.125), (0.1, 0.2, 0.3)]),
    ends=ASYNC,
)
def test_stretches_equal_single_steps(
    requests, scheduler, latency, blocks, max_model_len, router, instances, max_in_flight, api, until_s, patience, ends
):
    if patience is not None:
        first_s, next_s, delay_s = patience
        patience = Patience(np.full(len(requests), first_s), np.full(len(requests), next_s), delay_s)
    stretches, single = serve_both_ways(
        declared(requests, ends),
        scheduler,
        latency=latency,
        num_gpu_blocks=blocks,
        max_model_len=max_model_len,
        router=router,
        instances=instances,
        until_s=until_s,
        patience=patience,
        max_in_flight=max_in_flight,
        api=api,
        async_scheduling=ends is not None,
    )

    assert same(stretches, single)


@pytest.mark.parametrize("router", [RoundRobin(), Random(), PowerOfTwo()])
def test_the_property_is_tried_where_an_end_on_one_instance_is_an_arrival_at_a_boundary_of_another(router):
    rng = np.random.default_rng(3)
    closed = Workload(np.zeros(200), rng.integers(1, 9, 200), rng.integers(1, 40, 200), "closed loop")
    records = serve_both_ways(closed, ChunkedPrefill(), latency=CONSTANT, instances=4, router=router, max_in_flight=9)
    sent_s, instance = (records[0].requests[name] for name in ("sent_s", "instance"))
    ends = list(zip(records[0].requests["end_s"], instance, strict=True))
    causes = [{by for end_s, by in ends if end_s == at_s} for at_s in sent_s]
    elsewhere = [to not in by for to, by in zip(instance, causes, strict=True) if by]

    assert same(*records)
    assert sum(elsewhere) > 10


def test_a_request_whose_user_leaves_in_the_last_step_is_still_there_at_the_end():
    requests = Workload(np.array([0.0]), np.array([1]), np.array([9]), "one")
    patience = Patience(np.array([0.1]), np.array([0.2]), 0.3)  # leaves at 0.1, its engine hears of it at 0.4
    records = serve_both_ways(requests, ChunkedPrefill(), latency=CONSTANT, patience=patience, until_s=0.45)

    assert same(*records)
    assert [record.requests["end_s"].tolist() for record in records] == [[0.45], [0.45]]
