"""Where requests speculate, too, stretches equal single steps to the bit, and memory is whole again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.abandonment import Abandoning, Deadlines
from llmsim.engine.speculation.rule import MostGoodput, Speculation
from llmsim.routers.least_outstanding import LeastOutstanding
from llmsim.routers.prefix_aware import PrefixAware
from llmsim.routers.round_robin import RoundRobin
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.priority import Priority
from llmsim.schedulers.shortest_predicted_first import ShortestPredictedFirst
from llmsim.schedulers.slos_serve import SlosServe
from llmsim.schedulers.static import Static
from llmsim.schedulers.token_delay import TokenDelay
from llmsim.testing import LinearSteps, same, serve_both_ways, with_guesses
from llmsim.workload.acceptance import Acceptance, draw_steps
from llmsim.workload.patience import Patience
from tests.properties.asynchronous import ASYNC, declared
from tests.properties.test_prefix_stretches import workloads
from tests.properties.test_stretches import Fidgety


class FidgetyDrafts(Fidgety):
    honours_speculation = True


class Drafty(ChunkedPrefill):
    """Lets requests draft different numbers of tokens, and others whenever one comes or goes."""

    chooses_drafts = True

    def schedule(self, view):
        most = view.query_tokens
        drafts = {r.id: (5 * r.id + view.num_running + 3 * view.num_waiting) % most for r in view.decoding if r.id % 4}
        decision = super().schedule(view)
        return decision._replace(drafts={id: n for id, n in drafts.items() if id not in decision.preempt})


SCHEDULERS = [
    ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=6),
    ChunkedPrefill(),
    ChunkedPrefill(watermark=0.1),
    Priority(max_num_batched_tokens=96, max_num_seqs=9),
    ShortestPredictedFirst(),
    Static(max_num_seqs=4),
    TokenDelay(tokens_per_s=4.0, lead_tokens=2),
    FidgetyDrafts(),
    Drafty(max_num_batched_tokens=96, max_num_seqs=9),
    SlosServe(max_num_batched_tokens=96, max_num_seqs=9),
]


@st.composite
def speculations(draw):
    """How many tokens are drafted, how many of them are accepted by two classes, and what steps cost."""
    most = draw(st.integers(0, 5))
    fewer = st.integers(0, most)
    table = draw(st.sampled_from([((1, most),), ((2, most), (4, draw(fewer)), (9, 0)), ((1, 0), (3, most))]))
    exact = draw(st.booleans())
    lengths = [
        [100 * (k + 1) if exact else draw(st.integers(100, 100 * (k + 1))) for k in range(most + 1)] for _ in range(2)
    ]
    step_s, prefill_s, sequence_s, context_s = draw(st.sampled_from([(0.125, 0, 0, 0), (0.0101, 13e-5, 37e-5, 17e-7)]))
    latency = {k: LinearSteps(step_s + 0.002 * k, prefill_s, sequence_s * (1 + k), context_s) for k in range(most + 1)}
    lookahead = draw(st.sampled_from([0, most, 20]))
    if draw(st.booleans()):
        return MostGoodput(((1, most),), lookahead, latency, tuple(length / 100 for length in lengths[0])), lengths
    return Speculation(table, lookahead, latency), lengths


def mixed_times(latency):
    """Step times where sequences draft different numbers: all passes of the drafter, and all tokens."""

    def times(mix):
        most, mean = latency[max(mix)], sum(k * n for k, n in mix.items()) / sum(mix.values())
        return replace(most, sequence_s=latency[0].sequence_s * (1 + mean))

    return times


def speculating(requests, lengths, seed, drawn):
    rng = np.random.default_rng(seed)
    phase, number = rng.integers(0, 100, len(requests)), rng.integers(0, 2, len(requests))
    if drawn:
        return replace(requests, acceptance=draw_steps(rng, lengths, number, len(lengths[0]) - 1))
    return replace(requests, acceptance=Acceptance(tuple(map(tuple, lengths)), number, phase))


@settings(max_examples=30, deadline=None)
@given(
    requests=workloads(),
    rule=speculations(),
    scheduler=st.sampled_from(SCHEDULERS),
    blocks=st.integers(18, 60),
    caching=st.booleans(),
    router=st.sampled_from([RoundRobin(), LeastOutstanding(), PrefixAware(0.0, 2, 1.1)]),
    until_s=st.sampled_from([None, None, 1.0, 3.3]),
    deadlines=st.sampled_from([None, None, Deadlines(0.5), Deadlines(tokens_per_s=8.0)]),
    patience=st.sampled_from([None, None, (0.5, 0.25, 0.0), (np.inf, 0.2, 0.3)]),
    seed=st.integers(0, 9),
    ends=ASYNC,
    drawn=st.booleans(),
)
def test_stretches_equal_single_steps(
    requests, rule, scheduler, blocks, caching, router, until_s, deadlines, patience, seed, ends, drawn
):
    speculation, lengths = rule
    if scheduler.chooses_drafts:
        ends, drawn = None, False
        most, mixed = max(speculation.latency), mixed_times(speculation.latency)
        speculation = Speculation(((1, most),), speculation.lookahead, speculation.latency, mixed=mixed)
    elif ends is not None or drawn:
        speculation = Speculation(speculation.by_batch[:1], speculation.lookahead, speculation.latency)
    n = len(requests)
    if deadlines is not None:
        scheduler = Abandoning(scheduler, deadlines)
    if patience is not None:
        first_s, next_s, delay_s = patience
        patience = Patience(np.full(n, first_s), np.full(n, next_s), delay_s)
    stretches, steps = serve_both_ways(
        speculating(declared(with_guesses(requests, seed), ends), lengths, seed, drawn),
        scheduler,
        latency=speculation.latency[0],
        speculation=speculation,
        num_gpu_blocks=blocks,
        prefix_caching=caching
        and not isinstance(scheduler, FidgetyDrafts),  # it knows nothing of blocks that are shared
        router=router,
        instances=2,
        until_s=until_s,
        patience=patience,
        async_scheduling=ends is not None,
    )
    assert same(stretches, steps)
