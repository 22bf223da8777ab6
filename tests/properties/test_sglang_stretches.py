"""SGLang's scheduler: stretches equal single steps to the bit, events or not, with its radix cache and without."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.abandonment import Abandoning, Deadlines
from llmsim.request import Outcome
from llmsim.routers.least_outstanding import LeastOutstanding
from llmsim.routers.prefix_aware import PrefixAware
from llmsim.routers.round_robin import RoundRobin
from llmsim.schedulers.sglang import Sglang
from llmsim.testing import LinearSteps, same, serve, serve_both_ways, with_guesses
from llmsim.workload.contract import Workload
from llmsim.workload.patience import Patience
from tests.places import cases
from tests.properties.test_prefix_stretches import texts_of
from tests.properties.test_unseen import Looking

SCHEDULERS = [
    Sglang(chunked_prefill_size=32, max_running_requests=6, schedule_conservativeness=0.1),
    Sglang(chunked_prefill_size=-1, max_prefill_tokens=60, schedule_policy="lpm", schedule_conservativeness=0.02),
    Sglang(schedule_conservativeness=0.05),
]
LATENCIES = [LinearSteps(0.125, 0.0), LinearSteps(0.0101, 0.00013, 0.00037, 1.7e-6)]


@st.composite
def workloads(draw):
    n = draw(st.integers(1, 30))
    gap_s = draw(st.sampled_from([0.0, 0.125, 0.0173, 0.9]))
    gaps = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    prompts = draw(st.lists(st.integers(1, 60), min_size=n, max_size=n))
    outputs = draw(st.lists(st.integers(1, 90), min_size=n, max_size=n))
    texts = draw(st.lists(st.lists(st.integers(0, 1), max_size=5), min_size=n, max_size=n))
    arrival_s = np.cumsum(np.array([0, *gaps[1:]]) * gap_s)
    drawn = texts_of(Workload(arrival_s, np.array(prompts), np.array(outputs), "hypothesis"), texts)
    return with_guesses(drawn, draw(st.integers(0, 3)))


@settings(max_examples=cases(80), deadline=None)
@given(
    requests=workloads(),
    scheduler=st.sampled_from(SCHEDULERS),
    latency=st.sampled_from(LATENCIES),
    tokens=st.integers(160, 500),
    page=st.sampled_from([1, 1, 4, 16]),
    router=st.sampled_from([RoundRobin(), LeastOutstanding(), PrefixAware(0.0, 2, 1.1)]),
    instances=st.integers(1, 2),
    caching=st.booleans(),
    overlap=st.booleans(),
    until_s=st.sampled_from([None, None, 1.0, 3.3]),
    deadlines=st.sampled_from([None, None, Deadlines(0.5), Deadlines(tokens_per_s=8.0)]),
    patience=st.sampled_from([None, None, (0.5, 0.25, 0.0), (np.inf, 0.2, 0.3)]),
)
def test_stretches_equal_single_steps(
    requests, scheduler, latency, tokens, page, router, instances, caching, overlap, until_s, deadlines, patience
):
    if deadlines is not None:
        scheduler = Abandoning(scheduler, deadlines)
    if patience is not None:
        first_s, next_s, delay_s = patience
        spread = 1 + np.arange(len(requests)) % 3
        patience = Patience(first_s * spread, next_s * spread, delay_s)
    records = serve_both_ways(
        requests,
        scheduler,
        latency=latency,
        num_gpu_blocks=tokens // page,
        block_tokens=page,
        router=router,
        instances=instances,
        until_s=until_s,
        patience=patience,
        prefix_caching=caching,
        async_scheduling=overlap,
    )

    assert same(*records)
    if until_s is None and deadlines is None and patience is None:
        assert np.isin(records[0].requests["outcome"], (Outcome.FINISHED, Outcome.REJECTED)).all()


def pressed(rng):
    requests = Workload(np.arange(40) * 0.01, rng.integers(1, 20, 40), rng.integers(30, 90, 40), "pressure")
    return with_guesses(texts_of(requests, rng.integers(0, 2, (40, 4)).tolist()))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("caching", [False, True])
@pytest.mark.parametrize("overlap", [False, True])
def test_the_property_is_tried_under_memory_pressure(scheduler, caching, overlap):
    options = {"num_gpu_blocks": 250, "block_tokens": 1, "prefix_caching": caching, "async_scheduling": overlap}
    records = serve_both_ways(pressed(np.random.default_rng(2)), scheduler, **options)

    assert same(*records)
    assert records[0].requests["preemptions"].sum() > 0
    assert (records[0].requests["cached_tokens"].sum() > 0) == caching


@settings(max_examples=cases(40), deadline=None)
@given(
    requests=workloads(),
    scheduler=st.sampled_from(SCHEDULERS),
    latency=st.sampled_from(LATENCIES),
    caching=st.booleans(),
    overlap=st.booleans(),
)
def test_an_instance_that_makes_no_events_does_the_same(requests, scheduler, latency, caching, overlap):
    options = {"latency": latency, "num_gpu_blocks": 200, "block_tokens": 1, "prefix_caching": caching}
    options |= {"async_scheduling": overlap}
    lazy = serve(requests, scheduler, router=RoundRobin(), **options)
    eager = serve(requests, scheduler, router=Looking(), **options)

    assert same(lazy, eager)
