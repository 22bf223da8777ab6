"""Prefill here, decode there: nothing is lost on the way, and stretches equal single steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.abandonment import Abandoning, Deadlines
from llmsim.engine.exchange import Disaggregation, Link
from llmsim.request import Outcome
from llmsim.routers.least_outstanding import LeastOutstanding
from llmsim.routers.power_of_two import PowerOfTwo
from llmsim.routers.round_robin import RoundRobin
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.fcfs import Fcfs
from llmsim.testing import LinearSteps, same, serve, serve_both_ways
from llmsim.workload.contract import Workload
from llmsim.workload.patience import Patience
from tests.places import cases
from tests.properties.asynchronous import ASYNC, declared

KV_BYTES = 1000
ROLES = [("prefill", "decode"), ("decode", "prefill", "prefill"), ("mixed", "decode", "prefill", "decode")]
SCHEDULERS = [ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=6), ChunkedPrefill(), Fcfs(watermark=0.0)]
#: round numbers, so that arrivals, transfers and step ends coincide; and others, so that sums round
LATENCIES = [LinearSteps(0.125, 0.0), LinearSteps(0.0101, 0.00013, 0.00037, 1.7e-6)]
LINKS = [Link(8e6), Link(1.0e5, 0.125), Link(3.3e5, 0.0071, overlapped_layers=4), Link(1e300)]


@st.composite
def workloads(draw):
    n = draw(st.integers(1, 25))
    gap_s = draw(st.sampled_from([0.0, 0.125, 0.0173]))
    gaps = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    prompts = draw(st.lists(st.integers(1, 150), min_size=n, max_size=n))
    outputs = draw(st.lists(st.integers(1, 70), min_size=n, max_size=n))
    return Workload(np.cumsum(np.array(gaps) * gap_s), np.array(prompts), np.array(outputs), "hypothesis")


@settings(max_examples=cases(120), deadline=None)
@given(
    requests=workloads(),
    scheduler=st.sampled_from(SCHEDULERS),
    latency=st.sampled_from(LATENCIES),
    link=st.sampled_from(LINKS),
    roles=st.sampled_from(ROLES),
    when_full=st.sampled_from(["wait", "recompute", "fall_back"]),
    blocks=st.integers(14, 40),
    routers=st.sampled_from([(RoundRobin(), LeastOutstanding()), (PowerOfTwo(), PowerOfTwo())]),
    until_s=st.sampled_from([None, None, 1.0, 3.3]),
    deadlines=st.sampled_from([None, None, Deadlines(1.0, 3.0)]),
    patience=st.sampled_from([None, None, (0.5, 0.25, 0.0), (1.01, np.inf, 0.125)]),
    prefix_caching=st.booleans(),
    ends=ASYNC,
)
def test_stretches_equal_single_steps_and_nothing_is_lost(
    requests,
    scheduler,
    latency,
    link,
    roles,
    when_full,
    blocks,
    routers,
    until_s,
    deadlines,
    patience,
    prefix_caching,
    ends,
):
    if deadlines is not None:
        scheduler = Abandoning(scheduler, deadlines)
    if patience is not None:
        spread = 1 + np.arange(len(requests)) % 3
        patience = Patience(patience[0] * spread, patience[1] * spread, patience[2])
    stretches, single = serve_both_ways(  # checks conservation, and that all memory is free in the end
        declared(requests, ends),
        scheduler,
        latency=latency,
        num_gpu_blocks=blocks,
        router=routers[0],
        roles=roles,
        disaggregation=Disaggregation(link, KV_BYTES, routers[1], when_full),
        until_s=until_s,
        patience=patience,
        prefix_caching=prefix_caching,
        async_scheduling=ends is not None,
    )

    assert same(stretches, single)
    moved = stretches.transfers
    joined = ~np.isnan(moved["joined_s"])
    assert (moved["end_s"][joined] >= moved["start_s"][joined]).all()
    assert (moved["start_s"][joined] >= moved["offered_s"][joined]).all()
    assert (moved["joined_s"][joined] >= moved["end_s"][joined]).all()
    if not prefix_caching:
        started = ~np.isnan(moved["start_s"])
        assert np.array_equal(moved["bytes"][started], moved["tokens"][started] * KV_BYTES)


@pytest.mark.parametrize("when_full", ["wait", "recompute", "fall_back"])
def test_the_property_is_tried_where_the_decode_side_is_full(when_full):
    rng = np.random.default_rng(1)
    requests = Workload(np.arange(40) * 0.01, rng.integers(1, 150, 40), rng.integers(2, 70, 40), "pressure")
    record = serve(
        requests,
        ChunkedPrefill(),
        num_gpu_blocks=20,
        roles=("prefill", "decode"),
        disaggregation=Disaggregation(Link(1e6, 0.01), KV_BYTES, RoundRobin(), when_full),
    )

    assert (record.requests["outcome"] == Outcome.FINISHED).all()
    joined = ~np.isnan(record.transfers["joined_s"])
    assert joined.sum() > 0
    if when_full == "wait":
        assert joined.all()
        assert (record.transfers["start_s"] - record.transfers["offered_s"]).max() > 0.1
    else:
        assert not joined.all()
    if when_full == "recompute":
        assert record.requests["recomputed_tokens"].sum() > 0
