"""Who follows on whom, by hand: every step takes 1/8 s."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llmsim.abandonment import Abandoning, Deadlines
from llmsim.cluster.clients import ApiPath
from llmsim.errors import InputError
from llmsim.metrics import attempts
from llmsim.metrics.sections.attempt_counts import AttemptCounts
from llmsim.metrics.sections.conversation_counts import ConversationCounts
from llmsim.request import Outcome
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import LinearSteps, same, serve, serve_both_ways
from llmsim.workload.contract import Workload
from llmsim.workload.patience import Patience
from llmsim.workload.retries import Retries
from llmsim.workload.sessions import Sessions

STEP = LinearSteps(0.125, 0.0)
FINISHED, ABANDONED, CANCELLED, REJECTED = (
    Outcome.FINISHED,
    Outcome.ABANDONED,
    Outcome.CANCELLED,
    Outcome.REJECTED,
)


def talk(arrival_s, prompts, outputs, after, think_s, conversation):
    sessions = Sessions(np.array(after), np.array(think_s, dtype=float), np.array(conversation))
    return Workload(
        np.array(arrival_s, dtype=float), np.array(prompts), np.array(outputs), "by hand", sessions=sessions
    )


def both(requests, scheduler=None, **options):
    records = serve_both_ways(requests, scheduler or ChunkedPrefill(), latency=STEP, **options)
    assert same(*records)
    return records[0].requests


THREE_TURNS = talk([0, 0.5, 0.75], [10] * 3, [2] * 3, [-1, 0, 1], [0, 0.5, 0.25], [7, 7, 7])


def test_a_turn_arrives_a_think_time_after_its_user_has_the_last_token():
    got = both(THREE_TURNS, api=ApiPath(response_s=1.0))

    assert got["arrival_s"].tolist() == [0, 1.75, 3.25]  # 2 steps, 1 s way out, and 1/2 s or 1/4 s of thought
    assert got["sent_s"].tolist() == got["arrival_s"].tolist()
    assert got["conversation"].tolist() == [7, 7, 7]
    assert got["turn"].tolist() == [0, 1, 2]
    assert got["turns"].tolist() == [3, 3, 3]


def test_a_turn_comes_no_earlier_than_its_own_time():
    got = both(talk([0, 9], [10, 10], [2, 2], [-1, 0], [0, 0.5], [0, 0]))

    assert got["arrival_s"].tolist() == [0, 9]


def test_when_a_turn_fails_those_after_it_are_never_sent():
    requests = talk([0, 0, 0], [10, 500, 10], [2, 2, 2], [-1, 0, 1], [0, 0, 0], [0, 0, 0])
    got = both(requests, max_model_len=100)

    assert got["outcome"].tolist() == [FINISHED, REJECTED]
    assert ConversationCounts.count(got).to_dict() == {
        "total": 1,
        "complete": 0,
        "broken": 1,
        "unfinished": 0,
        "turns_sent": 2,
        "turns_never_sent": 1,
    }


def test_a_closed_loop_user_begins_the_next_conversation_however_the_last_one_ended():
    requests = talk([0, 0, 0], [500, 10, 10], [2, 2, 2], [-1, 0, 1], [0, 0, 2.0], [0, 0, 1])
    got = both(requests, max_model_len=100)

    assert got["request"].tolist() == [0, 2]
    assert got["arrival_s"].tolist() == [0, 2]
    assert ConversationCounts.count(got)["broken"] == ConversationCounts.count(got)["complete"] == 1


def test_turns_whose_time_the_end_of_the_run_forestalls_take_no_part():
    got = both(THREE_TURNS, until_s=1.25)

    assert got["arrival_s"].tolist() == [0, 0.75]
    assert got["outcome"].tolist() == [FINISHED, FINISHED]
    assert ConversationCounts.count(got)["unfinished"] == 1


def test_rows_are_in_order_of_arrival_whatever_the_order_in_the_workload():
    got = both(talk([0, 0, 0.5], [10] * 3, [9, 2, 2], [-1, 0, -1], [0, 0, 0], [0, 0, 1]))

    assert got["arrival_s"].tolist() == [0, 0.5, 1.125]
    assert got["request"].tolist() == [0, 2, 1]


def impatient(seconds):
    return Patience(np.array(seconds, dtype=float), np.full(len(seconds), np.inf))


def test_a_user_who_leaves_tries_again_after_a_backoff_from_when_they_left():
    alone = Workload(np.array([0.0]), np.array([10]), np.array([2]), "alone")
    got = both(alone, patience=impatient([0.0625]), retries=Retries(np.array([[0.25, 1.0]])))

    assert got["arrival_s"].tolist() == [0, 0.3125, 1.375]
    assert got["attempt"].tolist() == [0, 1, 2]
    assert got["request"].tolist() == [0, 0, 0]
    assert got["outcome"].tolist() == [CANCELLED] * 3


def test_an_attempt_that_succeeds_lets_the_conversation_go_on():
    blocking = talk([0, 0, 0], [10, 10, 10], [9, 2, 1], [-1, -1, 1], [0, 0, 0.5], [0, 1, 1])
    got = both(
        blocking,
        Abandoning(ChunkedPrefill(max_num_seqs=1), Deadlines(ttft_s=0.5)),
        retries=Retries(np.full((3, 1), 1.0)),
    )

    # request 1 waits behind the first, is given up at 0.5 s, comes again at 1.5 s and has its 2 tokens at 1.75 s
    assert got["request"].tolist() == [0, 1, 1, 2]
    assert got["outcome"].tolist() == [FINISHED, ABANDONED, FINISHED, FINISHED]
    assert got["arrival_s"].tolist() == [0, 0, 1.5, 2.25]
    assert AttemptCounts.count(got).to_dict() == {
        "total": 4,
        "unfinished": 0,
        "finished": 3,
        "abandoned": 1,
        "cancelled": 0,
        "rejected": 0,
        "per_request": 4 / 3,
        "requests_tried_again": 1,
        "of_these_finished": 1,
        "requests_by_attempts": [2, 1],
    }


def test_only_the_failures_that_are_named_are_tried_again():
    alone = Workload(np.array([0.0]), np.array([500]), np.array([2]), "alone")
    retries = Retries(np.array([[1.0]]), frozenset({CANCELLED}))

    assert both(alone, max_model_len=100, retries=retries)["outcome"].tolist() == [REJECTED]
    assert both(alone, max_model_len=100, retries=Retries(np.array([[1.0]])))["outcome"].tolist() == [REJECTED] * 2


def test_a_request_counts_once_from_its_first_arrival_to_its_last_end():
    requests = Workload(np.array([0.0, 0.0]), np.array([10, 10]), np.array([9, 2]), "two")
    scheduler = Abandoning(ChunkedPrefill(max_num_seqs=1), Deadlines(ttft_s=0.5))
    retries = Retries(np.full((2, 1), 1.0))
    record = serve(requests, scheduler, latency=STEP, retries=retries)
    cut_off = serve(requests, scheduler, latency=STEP, retries=retries, until_s=1.25)

    def once(record):
        return attempts.whole(
            record.timelines(), record.requests, attempts=2, on=retries.on, end_s=max(record.end_s, 1.25)
        )

    assert once(record).arrival_s.tolist() == [0, 0]
    assert once(record).end_s.tolist() == [1.125, 1.75]
    assert once(record).token_times_s(1).tolist() == [1.625, 1.75]
    assert once(record).outcome.tolist() == [FINISHED, FINISHED]
    assert once(cut_off).outcome.tolist() == [FINISHED, Outcome.UNFINISHED]  # it was to try again
    assert once(cut_off).end_s.tolist() == [1.125, 1.25]


def test_retries_without_failures_change_nothing():
    rng = np.random.default_rng(1)
    n = 60
    requests = Workload(np.cumsum(rng.exponential(0.1, n)), rng.integers(1, 99, n), rng.integers(1, 40, n), "all well")
    without, with_them = (
        serve(requests, ChunkedPrefill(), instances=2, retries=retries) for retries in (None, Retries(np.ones((n, 3))))
    )

    assert np.array_equal(with_them.requests.pop("request"), np.arange(n))
    assert not with_them.requests.pop("attempt").any()
    assert same(without, with_them)


@pytest.mark.parametrize(
    ("after", "think_s", "conversation", "message"),
    [
        ([0], [0], [0], "request 0 comes after 0, expected an earlier one"),
        ([-1, 0, 0], [0, 0, 0], [0, 0, 1], "two requests come after the same one"),
        ([-1, -1], [0, 0], [0, 0], "turns of a conversation must follow each other"),
        ([-1, 0], [0, math.nan], [0, 0], "think_s must be finite"),
        ([-1], [0, 0], [0, 0], "columns differ in length"),
    ],
)
def test_sessions_that_cannot_be_are_refused(after, think_s, conversation, message):
    with pytest.raises(InputError, match=message):
        Sessions(np.array(after), np.array(think_s, dtype=float), np.array(conversation))


def test_a_workload_and_its_sessions_must_fit():
    with pytest.raises(InputError, match="sessions of 1 requests, expected 2"):
        talk([0, 0], [1, 1], [1, 1], [-1], [0], [0])
