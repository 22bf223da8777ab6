"""Stretches and single steps give the same record, to the bit, whatever is served."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.abandonment import Abandoning, Deadlines
from llmsim.latency.contract import LatencyModel
from llmsim.routers.least_outstanding import LeastOutstanding
from llmsim.routers.power_of_two import PowerOfTwo
from llmsim.routers.random import Random
from llmsim.routers.round_robin import RoundRobin
from llmsim.scheduler import Decision, Scheduler
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.earliest_token_deadline import EarliestTokenDeadline
from llmsim.schedulers.fcfs import Fcfs
from llmsim.schedulers.priority import Priority
from llmsim.schedulers.shortest_predicted_first import ShortestPredictedFirst
from llmsim.schedulers.slos_serve import SlosServe
from llmsim.schedulers.static import Static
from llmsim.schedulers.token_delay import TokenDelay
from llmsim.schedulers.vtc import Vtc
from llmsim.schedulers.vtc_predicted import VtcPredicted
from llmsim.testing import LinearSteps, same, serve_both_ways, with_guesses
from llmsim.workload.contract import Workload
from llmsim.workload.patience import Patience
from tests.places import cases
from tests.properties.asynchronous import ASYNC, declared


class Fidgety(Scheduler):
    """Holds, preempts and abandons as the clock and the ids say, to exercise everything that a decision can do."""

    asks_every_step = True

    def schedule(self, view):
        tick = int(view.now_s * 64)
        running = list(view.running)
        decoding = [r for r in running if r.tokens_to_prefill == 0]
        preempt = tuple(r.id for r in running[1:] if r.preemptions < 2 and (r.id + tick) % 7 == 0)
        keep = [r for r in running if r.id not in preempt]
        while sum(view.blocks_to_decode(r) for r in keep) > view.free_blocks:
            preempt += (keep.pop().id,)
        hold = frozenset(r.id for r in decoding if r in keep and (r.id + tick // 8) % 5 == 0 and len(keep) > 1)
        abandon = frozenset(r.id for r in keep if r.emitted_tokens > 40 and r.id % 3 == 0) - hold
        prefill = {}
        if not preempt:
            free = view.free_blocks - view.decode_blocks
            for r in [*(r for r in keep if r not in decoding and r.id not in abandon), *view.waiting]:
                tokens = min(r.tokens_to_prefill, 40)
                blocks = view.blocks_for(r.computed_tokens + tokens) - view.blocks_held(r)
                if blocks > free:
                    break
                free -= blocks
                prefill[r.id] = tokens
                if tokens < r.tokens_to_prefill:
                    break  # one open prompt at a time, or they could block each other for ever
        return Decision(prefill, preempt=preempt, hold=hold, abandon=abandon, review_at_s=view.now_s + 0.125)


SCHEDULERS = [
    ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=6),
    ChunkedPrefill(),
    ChunkedPrefill(watermark=0.1),
    Fcfs(),
    Fcfs(max_num_batched_tokens=200, max_num_seqs=5, watermark=0.0),
    Static(max_num_seqs=4),
    TokenDelay(tokens_per_s=4.0, lead_tokens=2),
    ShortestPredictedFirst(max_num_batched_tokens=64, max_num_seqs=6),
    ShortestPredictedFirst(aging_tokens_per_s=20.0, prompt_weight=0.5),
    Priority(max_num_batched_tokens=64, max_num_seqs=6),
    Priority(),
    EarliestTokenDeadline(max_num_batched_tokens=8, max_num_seqs=6, tokens_per_s=3.0),
    EarliestTokenDeadline(tokens_per_s=20.0, offset_s=0.5),
    Fidgety(),
    Vtc(max_num_batched_tokens=64, max_num_seqs=6),
    VtcPredicted(weights={"first": 2.5}),
    SlosServe(max_num_seqs=6, max_num_batched_tokens=64, expected_output_tokens=30),
    SlosServe(most_new=2, step_time_error=-0.5),
]


class Kinked(LatencyModel):
    """Decode steps on many short lines, some of which fall."""

    slopes = (1e-4, -3e-5, 7e-5)

    def step_time_s(self, prefill, decoding, context_tokens):
        place, rest = divmod(context_tokens, 37)
        return 0.0001 * sum(tokens for _, tokens in prefill) + 0.02 + place * 1e-5 + rest * self.slopes[place % 3]

    def decode_line(self, decoding, context_tokens):
        place, rest = divmod(context_tokens, 37)
        first_s = self.step_time_s((), decoding, context_tokens)
        return first_s, decoding * self.slopes[place % 3], -((rest - 37) // decoding)


class OneByOne(LinearSteps):
    """Does not say that its steps are on one line."""

    decode_line = LatencyModel.decode_line


#: round numbers, so that arrivals and step ends coincide; and others, so that sums round
LATENCIES = [LinearSteps(0.125, 0.0), LinearSteps(0.0101, 0.00013, 0.00037, 1.7e-6), Kinked(), OneByOne(0.0101)]


@st.composite
def workloads(draw):
    n = draw(st.integers(1, 30))
    gap_s = draw(st.sampled_from([0.0, 0.125, 0.0173, 0.9]))
    gaps = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    prompts = draw(st.lists(st.integers(1, 150), min_size=n, max_size=n))
    outputs = draw(st.lists(st.integers(1, 70), min_size=n, max_size=n))
    arrival_s = np.cumsum(np.array([0, *gaps[1:]]) * gap_s)
    requests = Workload(arrival_s, np.array(prompts), np.array(outputs), "hypothesis")
    return with_guesses(requests, draw(st.integers(0, 3)))


@settings(max_examples=cases(160), deadline=None)
@given(
    requests=workloads(),
    scheduler=st.sampled_from(SCHEDULERS),
    latency=st.sampled_from(LATENCIES),
    blocks=st.integers(14, 60),
    router=st.sampled_from([RoundRobin(), Random(), LeastOutstanding(), PowerOfTwo()]),
    instances=st.integers(1, 3),
    until_s=st.sampled_from([None, None, 1.0, 3.3]),
    deadlines=st.sampled_from([None, None, Deadlines(0.5), Deadlines(1.0, 3.0), Deadlines(tokens_per_s=8.0)]),
    foresee=st.booleans(),
    patience=st.sampled_from([None, None, (0.5, 0.25, 0.0), (1.01, np.inf, 0.125), (np.inf, 0.2, 0.3)]),
    inbox=st.sampled_from([1, 3, 64]),
    ends=ASYNC,
)
def test_stretches_equal_single_steps(
    requests, scheduler, latency, blocks, router, instances, until_s, deadlines, foresee, patience, inbox, ends
):
    if deadlines is not None:
        scheduler = Abandoning(scheduler, deadlines, foresee=latency if foresee else None)
    if patience is not None:
        first_s, next_s, delay_s = patience
        spread = 1 + np.arange(len(requests)) % 3
        patience = Patience(first_s * spread, next_s * spread, delay_s)
    with mock.patch("llmsim.engine.instance.INBOX_SIZE", inbox):
        stretches, single = serve_both_ways(
            declared(requests, ends),
            scheduler,
            latency=latency,
            num_gpu_blocks=blocks,
            router=router,
            instances=instances,
            until_s=until_s,
            patience=patience,
            async_scheduling=ends is not None,
        )

    assert same(stretches, single)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_property_is_tried_under_memory_pressure(scheduler):
    rng = np.random.default_rng(1)
    requests = Workload(np.arange(40) * 0.01, rng.integers(1, 150, 40), rng.integers(1, 70, 40), "pressure")
    requests = with_guesses(requests)
    records = serve_both_ways(requests, scheduler, num_gpu_blocks=20)

    assert same(*records)
    assert records[0].requests["preemptions"].sum() > 0
    assert records[0].requests["recomputed_tokens"].sum() > 0
