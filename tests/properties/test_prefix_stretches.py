"""With prefix caching too: stretches equal single steps to the bit, nothing is lost, memory is whole again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.abandonment import Abandoning, Deadlines
from llmsim.request import Outcome
from llmsim.routers.prefix_aware import PrefixAware
from llmsim.routers.round_robin import RoundRobin
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.fcfs import Fcfs
from llmsim.schedulers.static import Static
from llmsim.schedulers.token_delay import TokenDelay
from llmsim.testing import LinearSteps, same, serve, serve_both_ways
from llmsim.workload.contract import Workload
from llmsim.workload.patience import Patience
from llmsim.workload.prefixes import Prefixes, chained
from tests.places import cases
from tests.properties.asynchronous import ASYNC, declared

SCHEDULERS = [
    ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=6),
    ChunkedPrefill(),
    ChunkedPrefill(watermark=0.1),
    Fcfs(),
    Fcfs(max_num_batched_tokens=200, max_num_seqs=5, watermark=0.0),
    Static(max_num_seqs=4),
    TokenDelay(tokens_per_s=4.0, lead_tokens=2),
]
LATENCIES = [LinearSteps(0.125, 0.0), LinearSteps(0.0101, 0.00013, 0.00037, 1.7e-6)]
PART = 24  # tokens: a block and a half


def texts_of(requests, texts):
    """Give each request the beginning of a text, parts of PART tokens; they may run on over its output."""
    total = (requests.prompt_tokens + requests.output_tokens).tolist()
    parts = [text[: -(-tokens // PART)] for text, tokens in zip(texts, total, strict=True)]
    counts = np.array([len(p) for p in parts])
    start = np.concatenate([[0], np.cumsum(counts)])
    place = np.arange(start[-1]) - np.repeat(start[:-1], counts)
    ends = np.minimum((place + 1) * PART, np.repeat(total, counts))
    return replace(requests, prefixes=Prefixes(np.array(chained(parts), dtype=np.int64), ends.astype(np.int64), start))


@st.composite
def workloads(draw):
    n = draw(st.integers(1, 25))
    gap_s = draw(st.sampled_from([0.0, 0.125, 0.0173, 0.9]))
    gaps = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    prompts = draw(st.lists(st.integers(1, 150), min_size=n, max_size=n))
    outputs = draw(st.lists(st.integers(1, 70), min_size=n, max_size=n))
    texts = draw(st.lists(st.lists(st.integers(0, 1), max_size=9), min_size=n, max_size=n))
    arrival_s = np.cumsum(np.array([0, *gaps[1:]]) * gap_s)
    return texts_of(Workload(arrival_s, np.array(prompts), np.array(outputs), "hypothesis"), texts)


@settings(max_examples=cases(50), deadline=None)
@given(
    requests=workloads(),
    scheduler=st.sampled_from(SCHEDULERS),
    latency=st.sampled_from(LATENCIES),
    blocks=st.integers(14, 60),
    router=st.sampled_from([RoundRobin(), PrefixAware(), PrefixAware(0.0, 2, 1.1)]),
    instances=st.integers(1, 3),
    until_s=st.sampled_from([None, None, 1.0, 3.3]),
    deadlines=st.sampled_from([None, None, Deadlines(0.5), Deadlines(tokens_per_s=8.0)]),
    patience=st.sampled_from([None, None, (0.5, 0.25, 0.0), (np.inf, 0.2, 0.3)]),
    ends=ASYNC,
)
def test_stretches_equal_single_steps(
    requests, scheduler, latency, blocks, router, instances, until_s, deadlines, patience, ends
):
    if deadlines is not None:
        scheduler = Abandoning(scheduler, deadlines)
    if patience is not None:
        first_s, next_s, delay_s = patience
        spread = 1 + np.arange(len(requests)) % 3
        patience = Patience(first_s * spread, next_s * spread, delay_s)
    stretches, single = serve_both_ways(
        declared(requests, ends),
        scheduler,
        latency=latency,
        num_gpu_blocks=blocks,
        router=router,
        instances=instances,
        until_s=until_s,
        patience=patience,
        prefix_caching=True,
        async_scheduling=ends is not None,
    )

    assert same(stretches, single)
    if until_s is None and deadlines is None and patience is None:
        assert np.isin(single.requests["outcome"], (Outcome.FINISHED, Outcome.REJECTED)).all()


def pressed():
    rng = np.random.default_rng(1)
    requests = Workload(np.arange(40) * 0.01, rng.integers(1, 150, 40), rng.integers(1, 70, 40), "pressure")
    return texts_of(requests, rng.integers(0, 2, (40, 4)).tolist())


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("router", [RoundRobin(), PrefixAware(0.0, 2, 1.1)])
def test_the_property_is_tried_under_memory_pressure(scheduler, router):
    records = serve_both_ways(
        pressed(),
        scheduler,
        num_gpu_blocks=20,
        instances=2,
        router=router,
        prefix_caching=True,
    )

    assert same(*records)
    assert records[0].requests["preemptions"].sum() > 0
    assert records[0].requests["recomputed_tokens"].sum() > 0
    assert records[0].requests["cached_tokens"].sum() > 0


def test_must_miss_with_a_cache_is_asked_at_every_step():
    """What a waiting request would find shrinks while others decode: scenarios set asks_every_step for that."""
    latency = LATENCIES[1]
    scheduler = Abandoning(ChunkedPrefill(max_num_seqs=3), Deadlines(0.5), foresee=latency)
    scheduler.asks_every_step = True
    records = serve_both_ways(pressed(), scheduler, latency=latency, num_gpu_blocks=20, prefix_caching=True)

    assert same(*records)
    assert (records[0].requests["outcome"] == Outcome.ABANDONED).any()


def test_a_user_who_would_leave_in_the_step_that_the_end_of_the_run_cuts_off():
    """Request 1 is given up at 2.95 s, the server told at 3.25 s: the step that starts then ends after the run."""
    requests = Workload(np.zeros(2), np.array([16, 16]), np.array([60, 60]), "two")
    never = np.array([np.inf, np.inf])
    records = [
        serve(
            requests,
            ChunkedPrefill(max_num_seqs=1),
            latency=LATENCIES[0],
            until_s=3.3,
            patience=Patience(np.array([np.inf, 2.95]), never, 0.3),
            stretches=stretches,
        )
        for stretches in (True, False)
    ]

    assert same(*records)
    assert records[0].requests["end_s"].tolist() == [3.3, 3.3]
