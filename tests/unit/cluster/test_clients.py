"""When clients send, and what they wait for, by hand: every step takes 1/8 s."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llmsim.cluster.clients import ApiPath
from llmsim.errors import InputError
from llmsim.request import Outcome
from llmsim.router import Router
from llmsim.scheduler import Decision
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import LinearSteps, same, serve_both_ways, workload
from llmsim.workload.patience import Patience

STEP = LinearSteps(0.125, 0.0)


def both(requests, scheduler=None, **options):
    records = serve_both_ways(requests, scheduler or ChunkedPrefill(), latency=STEP, **options)
    assert same(*records)
    return records[0].requests


def test_a_request_over_the_cap_is_sent_when_one_in_flight_ends_in_order_of_arrival():
    got = both(workload((0, 10, 4), (0, 10, 2), (0.1, 10, 1), (0.2, 10, 1)), max_in_flight=2)

    assert got["sent_s"].tolist() == [0, 0, 0.25, 0.375]  # request 1 ends after 2 steps, request 2 a step later
    assert got["queued_s"].tolist() == got["sent_s"].tolist()
    assert got["end_s"].tolist() == [0.5, 0.25, 0.375, 0.5]
    assert got["arrival_s"].tolist() == [0, 0, 0.1, 0.2]


def test_without_a_cap_requests_are_sent_as_they_arrive():
    got = both(workload((0, 10, 4), (0.1, 10, 2)))

    assert got["sent_s"].tolist() == got["queued_s"].tolist() == [0, 0.1]


def test_closed_loop_one_client_after_the_other():
    got = both(workload(*[(0, 5, 3)] * 4), max_in_flight=1)

    assert got["sent_s"].tolist() == [0, 0.375, 0.75, 1.125]
    assert got["end_s"][-1] == 1.5


def test_requests_that_are_refused_at_once_let_the_next_ones_through_however_many():
    got = both(workload(*[(0, 500, 5)] * 3000, (0, 5, 1)), max_in_flight=1, max_model_len=100)

    assert (got["outcome"][:-1] == Outcome.REJECTED).all()
    assert got["sent_s"][-1] == 0
    assert got["end_s"][-1] == 0.125


def test_the_way_in_delays_the_engine_and_the_way_out_the_client():
    api = ApiPath(request_s=0.5, prompt_token_s=0.25, response_s=2.0)
    got = both(workload((0, 2, 3), (0, 4, 1)), api=api, max_in_flight=1)

    assert got["queued_s"].tolist() == [1.0, 4.875]  # 1 s there, 3 steps, 2 s back, 1.5 s there
    assert got["sent_s"].tolist() == [0, 3.375]
    assert got["first_token_s"].tolist() == [1.125, 5.0]  # as emitted


def test_a_user_who_leaves_on_the_way_in_is_never_served_and_gives_the_slot_back():
    patience = Patience(np.array([0.5, math.inf]), np.array([math.inf, math.inf]))
    got = both(workload((0, 5, 3), (0, 5, 1)), api=ApiPath(request_s=1.0), max_in_flight=1, patience=patience)

    assert got["outcome"].tolist() == [Outcome.CANCELLED, Outcome.FINISHED]
    assert got["left_s"][0] == got["sent_s"][1] == 0.5
    assert got["emitted_tokens"].tolist() == [0, 1]


def test_what_is_under_way_or_was_never_sent_when_the_run_ends_is_unfinished():
    got = both(workload((0, 5, 1), (0, 5, 1)), api=ApiPath(request_s=1.0), max_in_flight=1, until_s=0.5)

    assert got["outcome"].tolist() == [Outcome.UNFINISHED] * 2
    assert got["instance"].tolist() == [0, -1]
    assert np.isnan(got["queued_s"]).all()
    assert np.isnan(got["sent_s"]).tolist() == [False, True]
    assert got["end_s"].tolist() == [0.5, 0.5]


class Scripted(Router):
    """Sends request i to instance `to[i]`."""

    def __init__(self, *to):
        self.to = to

    def route(self, request, fleet):
        return self.to[request.id]


class GivesUpSevens(ChunkedPrefill):
    """Gives prompts of 7 tokens up as soon as it sees them, or once they have 5 tokens, besides all else it does."""

    def schedule(self, view):
        decision = super().schedule(view)
        sevens = [r for r in view.waiting if r.prompt_tokens == 7]
        sevens += [r for r in view.running if r.prompt_tokens == 77 and r.emitted_tokens == 5]
        asks = any(r.prompt_tokens == 77 for r in view.running)
        if not sevens:
            return decision._replace(review_at_s=view.now_s) if asks else decision
        return Decision(abandon=frozenset(r.id for r in sevens))


def test_what_one_instance_causes_comes_after_the_boundaries_that_others_have_passed():
    # instance 2 ends 1 at 0.25 s; so 2 goes to the idle instance 0, which gives it up at once; so 3 goes to instance 1,
    # whose boundary at 0.25 s has passed by then: it starts at 0.375 s
    requests = workload((0, 5, 40), (0, 5, 2), (0, 7, 2), (0, 5, 2))
    got = both(requests, GivesUpSevens(), router=Scripted(1, 2, 0, 1), instances=3, max_in_flight=2)

    assert got["sent_s"].tolist() == [0, 0, 0.25, 0.25]
    assert got["first_scheduled_s"][3] == 0.375


def test_a_request_that_follows_an_abandoned_one_is_seen_at_the_next_step():
    got = both(workload((0, 5, 40), (0, 77, 20), (0, 5, 2)), GivesUpSevens(), max_in_flight=2)

    assert got["outcome"][1] == Outcome.ABANDONED
    assert got["end_s"][1] == got["sent_s"][2] == 0.625
    assert got["first_scheduled_s"][2] == 0.75


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_api_times_must_be_seconds(value):
    with pytest.raises(InputError, match=r"host response_s = .*, expected seconds, not negative"):
        ApiPath(response_s=value)


def test_a_request_cancelled_after_the_last_boundary_is_there_until_the_run_ends():
    # tokens at 0.125, 0.25, 0.375 s; the user leaves at 0.1 s, which the engine learns at 0.4 s, in its fourth step
    patience = Patience(np.array([0.1]), np.array([math.inf]), cancel_delay_s=0.3)
    got = both(workload((0, 1, 4)), until_s=0.45, patience=patience)

    assert got["outcome"].tolist() == [Outcome.CANCELLED]
    assert got["end_s"].tolist() == [0.45]
    assert got["emitted_tokens"].tolist() == [3]
