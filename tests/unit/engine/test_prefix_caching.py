"""Prefix caching in the engine, by hand. A step takes 10 ms plus 0.1 ms per prefilled token; blocks hold 16 tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmsim.request import Outcome
from llmsim.routers.prefix_aware import PrefixAware
from llmsim.scheduler import DECODE, Decision, Scheduler
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.fcfs import Fcfs
from llmsim.schedulers.static import Static
from llmsim.testing import LinearSteps, PurityChecker, check_record, same, serve, serve_both_ways, workload
from llmsim.workload.prefixes import Prefixes, chained, seen_before

STEP, TOKEN = 0.010, 0.0001


def sharing(requests, *parts):
    """Name the parts of each request: [(name, end), …]."""
    ids = np.array([name for request in parts for name, _ in request], dtype=np.int64)
    ends = np.array([end for request in parts for _, end in request], dtype=np.int64)
    return replace(requests, prefixes=Prefixes(ids, ends, np.cumsum([0, *map(len, parts)])))


def ttft_s(record):
    return record.requests["first_token_s"] - record.requests["arrival_s"]


@pytest.mark.parametrize("scheduler", [ChunkedPrefill(), Fcfs(), Static()])
@pytest.mark.parametrize(
    ("prompt", "shared", "cached"),
    [
        (100, 100, 96),  # six full blocks; the seventh is not full
        (96, 96, 80),  # all blocks are known, but the last token's must be computed
        (97, 96, 96),
        (100, 50, 48),  # the block in which the texts part is not shared
        (100, 15, 0),
        (16, 16, 0),
    ],
)
def test_the_second_request_finds_the_full_blocks_of_the_first(scheduler, prompt, shared, cached):
    requests = sharing(workload((0.0, prompt, 2), (1.0, prompt, 2)), [(0, shared)], [(0, shared)])
    record = serve(requests, scheduler, prefix_caching=True)

    assert record.requests["cached_tokens"].tolist() == [0, cached]
    assert ttft_s(record) == pytest.approx([STEP + prompt * TOKEN, STEP + (prompt - cached) * TOKEN])
    assert record.steps["prefill_tokens"].sum() == prompt + prompt - cached


def test_blocks_are_known_as_soon_as_they_are_scheduled():
    """Three equal prompts in one step of 200 tokens: the first is computed, the others compute what is left of them."""
    requests = sharing(workload((0.0, 100, 1), (0.0, 100, 1), (0.0, 100, 1)), *[[(0, 100)]] * 3)
    record = serve(requests, ChunkedPrefill(max_num_batched_tokens=200, max_num_seqs=8), prefix_caching=True)

    assert record.requests["cached_tokens"].tolist() == [0, 96, 96]
    assert ttft_s(record) == pytest.approx([STEP + (100 + 4 + 4) * TOKEN] * 3)
    assert record.steps["kv_blocks_used"].tolist() == [7 + 1 + 1]


def test_a_chunk_of_a_running_prompt_is_found_in_its_own_step():
    """Steps of 64 tokens: 64 of request 0, then 36 of it and the 28 that request 1 may have, which finds 96."""
    requests = sharing(workload((0.0, 100, 1), (0.001, 130, 1)), [(0, 100)], [(0, 100)])
    record = serve(requests, ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=8), prefix_caching=True)

    assert record.requests["cached_tokens"].tolist() == [0, 96]
    assert record.steps["prefill_tokens"].tolist() == [64, 36 + 28, 130 - 96 - 28]


def test_a_prefix_in_use_takes_no_memory_twice():
    """Thirteen blocks: two prompts of 160 tokens fit together only because they share 144 of them."""
    requests = sharing(workload((0.0, 160, 10), (0.0, 160, 10)), [(0, 144)], [(0, 144)])
    shared, apart = (
        serve(requests, ChunkedPrefill(), num_gpu_blocks=13, prefix_caching=caching) for caching in (True, False)
    )

    assert shared.steps["kv_blocks_used"].tolist() == [9 + 1 + 1] * 2  # the prefill, and nine decodes in a stretch
    assert shared.requests["first_scheduled_s"].tolist() == [0, 0]
    assert apart.requests["first_scheduled_s"][1] > 0


def test_blocks_are_forgotten_from_the_end_of_the_longest_unused():
    """Ten blocks: request 1 takes six of them, four that never held anything and two of the six that 0 has left."""
    requests = sharing(
        workload((0.0, 96, 1), (1.0, 96, 1), (2.0, 97, 1)),
        [(0, 96)],
        [(1, 96)],
        [(0, 96)],
    )
    record = serve(requests, ChunkedPrefill(), num_gpu_blocks=10, prefix_caching=True)

    assert record.requests["cached_tokens"].tolist() == [0, 0, (6 - 2) * 16]


def test_the_next_turn_finds_what_the_last_one_said():
    """Turn one: 40 tokens and an answer of 25. Turn two repeats both; the answer's last token was never computed on."""
    turns = sharing(workload((0.0, 40, 25), (5.0, 100, 1)), [(0, 40), (1, 65)], [(0, 40), (1, 65), (2, 100)])
    forgetful = sharing(workload((0.0, 40, 25), (5.0, 100, 1)), [(0, 40)], [(0, 40), (1, 65), (2, 100)])

    assert serve(turns, ChunkedPrefill(), prefix_caching=True).requests["cached_tokens"].tolist() == [0, 64]
    assert serve(forgetful, ChunkedPrefill(), prefix_caching=True).requests["cached_tokens"].tolist() == [0, 32]


class PreemptOnce(Scheduler):
    """Prefill whoever waits, in full; preempt each request once, when it has emitted 20 tokens."""

    asks_every_step = True

    def schedule(self, view):
        victims = tuple(r.id for r in view.running if r.emitted_tokens == 20 and r.preemptions == 0)
        if victims:
            return Decision(preempt=victims)
        prefill = {r.id: r.tokens_to_prefill for r in view.waiting}
        return Decision(prefill) if prefill else DECODE


def test_a_preempted_request_finds_its_own_blocks_again():
    """Prompt 40, preempted with 20 tokens out: 59 are in memory, 48 of them in full blocks; 60 - 48 are computed."""
    requests = workload((0.0, 40, 30))
    kept, lost = (serve(requests, PreemptOnce(), prefix_caching=caching) for caching in (True, False))

    assert kept.steps["prefill_tokens"][kept.steps["prefill_tokens"] > 0].tolist() == [40, 60 - 48]
    assert lost.steps["prefill_tokens"][lost.steps["prefill_tokens"] > 0].tolist() == [40, 60]
    assert kept.requests["recomputed_tokens"].tolist() == [59 - 48]
    assert kept.requests["cached_tokens"].tolist() == [0]  # it was computed for this request, once


def test_a_scheduler_that_does_not_ask_computes_no_more_than_is_left():
    class Simple(Scheduler):
        def schedule(self, view):
            return Decision({r.id: r.tokens_to_prefill for r in view.waiting})

    requests = sharing(workload((0.0, 100, 2), (1.0, 100, 2)), [(0, 100)], [(0, 100)])
    record = serve(requests, Simple(), prefix_caching=True)

    assert record.requests["cached_tokens"].tolist() == [0, 96]


@pytest.mark.parametrize("scheduler", [ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=8), Fcfs(), Static()])
def test_off_nothing_changes_and_asking_changes_nothing(scheduler):
    rng = np.random.default_rng(3)
    plain = workload(*zip(np.arange(40) * 0.02, rng.integers(1, 150, 40), rng.integers(1, 60, 40), strict=True))
    shared = sharing(plain, *[[(k % 3, 1 + k)] for k in range(40)])

    assert same(serve(plain, scheduler, num_gpu_blocks=30), serve(shared, scheduler, num_gpu_blocks=30))
    checked = serve(shared, PurityChecker(scheduler), num_gpu_blocks=30, prefix_caching=True)
    assert same(checked, serve(shared, scheduler, num_gpu_blocks=30, prefix_caching=True))
    assert checked.requests["cached_tokens"].sum() > 0


def test_without_anything_shared_and_without_preemption_caching_is_idle():
    requests = workload((0.0, 100, 9), (0.1, 50, 9), (0.2, 70, 9))

    assert same(serve(requests, ChunkedPrefill()), serve(requests, ChunkedPrefill(), prefix_caching=True))


def test_a_prefix_aware_router_sends_a_text_where_it_is_known():
    """Texts 0 and 1 in turn: round robin over two instances would be as good, over three it is not."""
    requests = workload(*((float(k), 100, 2) for k in range(12)))
    record = serve(
        sharing(requests, *[[(k % 2, 100)] for k in range(12)]),
        ChunkedPrefill(),
        instances=3,
        router=PrefixAware(),
        prefix_caching=True,
    )

    assert record.requests["cached_tokens"].tolist() == [0, 0] + [96] * 10
    assert len(set(record.requests["instance"].tolist())) == 1  # all is idle: ties go to the lowest number


def test_a_prefix_aware_router_gives_up_a_prefix_for_balance():
    requests = sharing(workload(*((0.0001 * k, 100, 500) for k in range(8))), *[[(0, 100)]] * 8)
    eager, fair = (
        serve(requests, ChunkedPrefill(), instances=2, router=PrefixAware(balance_abs_threshold=n), prefix_caching=True)
        for n in (64, 2)
    )

    assert eager.requests["instance"].sum() == 0
    # the fourth finds 3 against 0 requests and goes to 1, which from then on knows the text as well
    assert fair.requests["instance"].tolist() == [0, 0, 0, 1, 1, 1, 0, 1]


def test_requests_that_leave_or_are_cut_off_give_back_what_they_hold():
    requests = sharing(workload((0.0, 100, 50), (0.0, 100, 50)), [(0, 100)], [(0, 100)])
    record = serve(
        requests, ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=8), prefix_caching=True, until_s=0.02
    )

    assert (record.requests["outcome"] == Outcome.UNFINISHED).all()
    check_record(record)


def test_names_are_chained_and_what_recurs_is_kept():
    names = chained([[1, 2], [3, 2], [1, 2, 4]])
    prefixes = Prefixes(np.array(names), np.array([8, 16, 8, 16, 8, 16, 24]), np.array([0, 2, 4, 7]))

    assert names == [0, 1, 2, 3, 0, 1, 4]  # the second 2 follows 3, not 1
    assert seen_before(prefixes).tolist() == [False, False, False, False, True, True, False]
    assert prefixes.recurring().ids.tolist() == [0, 1, 0, 1]
    assert prefixes.recurring().start.tolist() == [0, 2, 2, 4]
    assert prefixes.take(np.array([2, 0])).ids.tolist() == [0, 1, 4, 0, 1]


def test_less_to_compute_is_less_time_to_the_first_token():
    rng = np.random.default_rng(7)
    requests = workload(
        *zip(np.cumsum(rng.exponential(0.05, 200)), rng.integers(200, 300, 200), [20] * 200, strict=True)
    )
    shared = sharing(requests, *[[(k % 4, 192)] for k in range(200)])
    latency = LinearSteps(sequence_s=0.0001, context_token_s=1e-6)
    on, off = (serve(shared, ChunkedPrefill(), latency=latency, prefix_caching=caching) for caching in (True, False))

    assert ttft_s(on).mean() < ttft_s(off).mean()
    assert on.requests["cached_tokens"].sum() == (200 - 4) * 192


def test_a_router_that_asks_in_mid_stretch_hears_what_has_been_evicted_by_then():
    """Instance 0 knows a text in 6 of 15 blocks; a request grows to 14 on it, in one stretch: one block of it is left.

    That is too little to follow, so whoever has that text next goes where nobody is. In the state in which the stretch
    began, all of it was still there.
    """
    requests = sharing(workload((0.0, 100, 1), (1.0, 16, 199), (2.98, 100, 1)), [(0, 96)], [], [(0, 96)])
    records = serve_both_ways(
        requests,
        ChunkedPrefill(),
        num_gpu_blocks=15,
        instances=2,
        router=PrefixAware(),
        prefix_caching=True,
    )

    assert same(*records)
    assert records[0].requests["instance"].tolist() == [0, 0, 1]
    assert len(records[0].steps["steps"]) < 10  # it was a stretch
