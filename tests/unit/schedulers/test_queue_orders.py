"""Schedulers whose queue is not first come first served, by hand; and the sorted queue itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.abandonment import Abandoning, Deadlines
from llmsim.errors import InputError
from llmsim.request import Request
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.earliest_token_deadline import EarliestTokenDeadline
from llmsim.schedulers.priority import Priority
from llmsim.schedulers.shortest_predicted_first import ShortestPredictedFirst
from llmsim.testing import LinearSteps, PurityChecker, serve, workload
from llmsim.waiting import PIECE, SortedQueue
from llmsim.workload.classes import Classes

SECOND = LinearSteps(1.0, 0.0)  #: every step takes a second


def batches(requests, scheduler, **options):
    """What each step prefills, by its start in seconds, for as long as there is anything to prefill."""
    checker = PurityChecker(scheduler)
    serve(requests, checker, latency=SECOND, **options)
    return {start_s: dict(decision.prefill) for start_s, decision in checker.decisions if decision.prefill}


def with_predictions(requests, *tokens):
    return replace(requests, predicted_output_tokens=np.array(tokens))


def with_priorities(requests, *priorities):
    known = tuple(sorted(set(priorities)))
    of_request = np.array([known.index(priority) for priority in priorities])
    return replace(requests, classes=Classes(of_request, tuple(map(str, known)), known))


def test_shortest_predicted_first_one_at_a_time():
    """All wait behind request 0, of 3 tokens: then 2 (10), 3 (20, as long as 1 but later), 1 (20)."""
    requests = workload((0.0, 8, 3), (0.1, 8, 2), (0.2, 8, 2), (0.3, 8, 1))
    requests = with_predictions(requests, 99, 20, 10, 20)

    assert batches(requests, ShortestPredictedFirst(max_num_seqs=1)) == {0: {0: 8}, 3: {2: 8}, 5: {1: 8}, 7: {3: 8}}


def test_the_shortest_blocks_the_rest_as_the_first_does():
    """Budget 10: 2 takes its 6 tokens, 1 the 4 that are left, its rest before anybody else in the next step."""
    requests = with_predictions(workload((0.0, 6, 1), (0.0, 8, 1), (0.0, 6, 1)), 30, 20, 10)

    assert batches(requests, ShortestPredictedFirst(max_num_batched_tokens=10, max_num_seqs=8)) == {
        0: {2: 6, 1: 4},
        1: {1: 4, 0: 6},
    }


def test_prompts_count_as_much_as_asked():
    requests = with_predictions(workload((0.0, 90, 1), (0.0, 10, 1)), 10, 50)
    first = {weight: next(iter(batches(requests, one(prompt_weight=weight))[0])) for weight in (0.0, 0.4, 0.6)}

    assert first == {0.0: 0, 0.4: 0, 0.6: 1}  # 10 and 50; 46 and 54; 64 and 56


def one(**options):
    return ShortestPredictedFirst(max_num_seqs=1, **options)


@pytest.mark.parametrize(("aging", "second"), [(0.0, 2), (15.0, 2), (25.0, 1)])
def test_a_request_that_has_waited_longer_counts_as_shorter(aging, second):
    """Request 1 is 20 tokens longer than 2 and came a second earlier."""
    requests = with_predictions(workload((0.0, 8, 4), (1.0, 8, 1), (2.0, 8, 1)), 1, 50, 30)

    assert batches(requests, one(aging_tokens_per_s=aging))[4] == {second: 8}


def test_a_preempted_request_comes_before_shorter_ones():
    """4 blocks: 0 and 1 hold two each when a block is short; 1 has to go, and returns before 2, which is shorter."""
    requests = with_predictions(workload((0.0, 31, 20), (0.0, 31, 20), (0.5, 8, 1)), 20, 20, 1)
    record = serve(requests, ShortestPredictedFirst(max_num_seqs=2), latency=SECOND, num_gpu_blocks=4)

    assert record.requests["preemptions"].tolist() == [0, 1, 0]
    returned_s, both = list(batches(requests, ShortestPredictedFirst(max_num_seqs=2), num_gpu_blocks=4).items())[1]
    assert (returned_s, list(both)) == (record.requests["end_s"][0], [1, 2])


def test_strict_priority_then_arrival():
    requests = with_priorities(workload((0.0, 8, 3), (0.1, 8, 1), (0.2, 8, 1), (0.3, 8, 1)), 5, 1, 0, 1)

    assert batches(requests, Priority(max_num_seqs=1)) == {0: {0: 8}, 3: {2: 8}, 4: {1: 8}, 5: {3: 8}}


def test_the_least_urgent_gives_memory_back_although_it_came_first():
    requests = with_priorities(workload((0.0, 31, 9), (0.0, 31, 9)), 1, 0)
    preempted = [
        serve(requests, policy, latency=SECOND, num_gpu_blocks=4).requests["preemptions"].tolist()
        for policy in (Priority(), ChunkedPrefill())
    ]

    assert preempted == [[1, 0], [0, 1]]


def test_without_classes_priority_is_chunked_prefill():
    requests = workload(*((0.3 * k, 40 + 7 * k, 1 + k % 5) for k in range(12)))
    small = {"max_num_batched_tokens": 64, "max_num_seqs": 4}

    assert batches(requests, Priority(**small)) == batches(requests, ChunkedPrefill(**small))


def holds(requests, scheduler):
    checker = PurityChecker(scheduler)
    record = serve(requests, checker, latency=SECOND)
    return {start_s: (dict(d.prefill), set(d.hold)) for start_s, d in checker.decisions if d.prefill}, record


def test_a_prompt_that_is_due_goes_before_tokens_that_are_not():
    """A reader of a token every 10 s, a budget of 4: request 1 is due at 12 s, the next tokens of 0 from 20 s on.

    So 1 has the whole budget of two steps and 0 sits them out. A reader who takes 10 tokens a second is behind from the
    start: its token goes first, and a prompt has the 3 that are left.
    """
    requests = workload((0.0, 4, 6), (1.5, 8, 1))
    patient, record = holds(requests, EarliestTokenDeadline(max_num_batched_tokens=4, max_num_seqs=4, tokens_per_s=0.1))
    hasty, _ = holds(requests, EarliestTokenDeadline(max_num_batched_tokens=4, max_num_seqs=4, tokens_per_s=10.0))

    assert patient == {0: ({0: 4}, set()), 2: ({1: 4}, {0}), 3: ({1: 4}, {0})}
    assert record.timelines().token_times_s(0).tolist() == [1, 2, 5, 6, 7, 8]
    assert hasty == {0: ({0: 4}, set()), 2: ({1: 3}, set()), 3: ({1: 3}, set()), 4: ({1: 2}, set())}


def test_of_those_that_decode_the_furthest_ahead_sit_out():
    """A token every 5 s. At 3 s request 0 has 3 tokens, the next due at 20 s, 1 and 2 have 2, due at 15.1 and 15.2 s.

    Request 3, due at 7.5 s, takes 9 of the 10 tokens of a step: one is left for those who decode, and 1 is due first.
    """
    requests = workload((0.0, 2, 5), (0.1, 2, 5), (0.2, 2, 5), (2.5, 9, 1))
    steps, _ = holds(requests, EarliestTokenDeadline(max_num_batched_tokens=10, max_num_seqs=4, tokens_per_s=0.2))

    assert steps[3] == ({3: 9}, {0, 2})


def test_offset_counts_alike_for_all():
    requests = workload((0.0, 4, 6), (1.5, 8, 1))
    early, late = (
        holds(
            requests,
            EarliestTokenDeadline(max_num_batched_tokens=4, max_num_seqs=4, tokens_per_s=0.1, offset_s=offset_s),
        )[0]
        for offset_s in (0.0, 9.0)
    )

    assert early == late


@pytest.mark.parametrize(
    ("policy", "options", "says"),
    [
        (ShortestPredictedFirst, {"aging_tokens_per_s": -1.0}, "aging_tokens_per_s is -1.0"),
        (ShortestPredictedFirst, {"prompt_weight": -0.5}, "prompt_weight is -0.5"),
        (EarliestTokenDeadline, {"tokens_per_s": 0.0}, "tokens_per_s is 0.0"),
        (EarliestTokenDeadline, {"offset_s": -1.0}, "offset_s is -1.0"),
        (Priority, {"max_num_batched_tokens": 8}, "at least max_num_seqs"),
    ],
)
def test_options_out_of_range_are_refused(policy, options, says):
    with pytest.raises(InputError, match=says):
        policy(**options)


def test_a_server_that_gives_up_keeps_the_order_of_its_scheduler():
    requests = with_predictions(workload((0.0, 8, 3), (0.1, 8, 2), (0.2, 8, 2)), 99, 20, 10)
    giving_up = Abandoning(ShortestPredictedFirst(max_num_seqs=1), Deadlines(ttft_s=1000.0))

    assert giving_up.needs_prediction
    assert batches(requests, giving_up) == {0: {0: 8}, 3: {2: 8}, 5: {1: 8}}


@patch("llmsim.waiting.PIECE", 2)
@given(st.lists(st.tuples(st.sampled_from(["join", "leave", "requeue"]), st.integers(0, 9), st.integers(0, 3))))
def test_a_sorted_queue_is_a_sorted_list(moves):
    keys: dict[int, int] = {}
    queue = SortedQueue(lambda request: (request.prompt_tokens,))
    for move, id, key in moves:
        if move == "leave":
            left = queue.pop(id, None)
            assert (left is None) == (keys.pop(id, None) is None)
        else:
            queue[id] = Request(id, 0.0, key)
            keys[id] = key
            if move == "requeue":
                queue.move_to_end(id, last=False)
        expected = sorted(keys, key=lambda id: (keys[id], id))
        assert list(queue) == [request.id for request in queue.values()] == expected
        assert len(queue) == len(expected)
        assert all(queue.get(id) is not None for id in keys)
        assert not isinstance(queue.values(), Iterator)  # a policy may walk it twice


class Counted(float):
    """A key that counts how often it is compared."""

    compared = 0

    def __lt__(self, other):
        Counted.compared += 1
        return float(self) < float(other)


def comparisons(requests: int) -> float:
    """Comparisons of keys per request that joins a queue in random order and leaves it from its head."""
    queue = SortedQueue(lambda request: (Counted(request.arrival_s),))
    Counted.compared = 0
    for id, key in enumerate(np.random.default_rng(7).random(requests).tolist()):
        queue[id] = Request(id, key, 1)
    order = list(queue)
    assert order == sorted(order, key=lambda id: queue.get(id).arrival_s)
    for id in order:
        queue.pop(id, None)
    assert len(queue) == 0
    return Counted.compared / requests


def test_a_deep_queue_costs_the_logarithm_of_its_depth():
    assert max(map(len, filled(20_000)._pieces)) <= 2 * PIECE
    assert comparisons(16_000) < comparisons(1_000) + 2 * 5  # log2(16), and one each to join and to leave


def filled(requests: int) -> SortedQueue:
    queue = SortedQueue(lambda request: (request.arrival_s,))
    for id in range(requests):
        queue[id] = Request(id, -float(id), 1)
    return queue
