"""The gateway by hand: every step takes 1/8 s; its queue, its sender, and what engine and client see of them."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest

from llmsim import experiment
from llmsim.cluster.clients import ApiPath
from llmsim.cluster.gateway import SenderQueue, after_sender, all_sent_s
from llmsim.engine.clock import Clock
from llmsim.engine.stretch import Stretch
from llmsim.errors import InputError
from llmsim.request import Outcome
from llmsim.scenario import load_scenario
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import LinearSteps, same, serve, serve_both_ways, workload
from llmsim.workload.contract import Workload
from llmsim.workload.patience import Patience
from llmsim.workload.sessions import Sessions

STEP = LinearSteps(0.125, 0.0)


def both(requests, scheduler=None, **options):
    records = serve_both_ways(requests, scheduler or ChunkedPrefill(), latency=STEP, **options)
    assert same(*records)
    return records[0]


def test_a_request_at_a_full_gateway_waits_until_another_client_has_the_last_token():
    api = ApiPath(request_s=0.25, response_s=1.0, max_concurrency=2)
    got = both(workload((0, 10, 4), (0, 10, 2), (0.1, 10, 1), (0.2, 10, 1)), api=api).requests

    # 1/4 s in, 2 and 4 steps, 1 s out
    assert got["admitted_s"].tolist() == [0, 0, 1.5, 1.75]
    assert got["queued_s"].tolist() == [0.25, 0.25, 1.75, 2.0]
    assert got["sent_s"].tolist() == got["arrival_s"].tolist() == [0, 0, 0.1, 0.2]


def test_a_full_queue_rejects():
    record = both(workload(*[(0, 10, 4)] * 4), api=ApiPath(max_concurrency=1, max_queue=2))
    got = record.requests

    assert got["outcome"].tolist() == [Outcome.FINISHED] * 3 + [Outcome.REJECTED]
    assert got["instance"].tolist() == [0, 0, 0, -1]
    assert record.reasons[got["reason"][3]] == "2 requests wait at the gateway already"
    assert got["end_s"].tolist() == [0.5, 1.0, 1.5, 0.0]


def test_a_request_whose_user_left_is_cancelled_in_the_queue_when_the_gateway_learns_of_it():
    patience = Patience(np.array([np.inf, 0.1, np.inf]), np.full(3, np.inf), cancel_delay_s=0.15)
    got = both(workload(*[(0, 10, 4)] * 3), api=ApiPath(max_concurrency=1, max_queue=2), patience=patience).requests

    assert got["outcome"].tolist() == [Outcome.FINISHED, Outcome.CANCELLED, Outcome.FINISHED]
    assert got["left_s"][1] == 0.1
    assert got["end_s"].tolist() == [0.5, 0.25, 1.0]
    assert got["instance"][1] == -1


def test_refusals_at_once_let_the_next_ones_through_however_many():
    requests = workload(*[(0, 500, 5)] * 3000, (0, 5, 1))
    got = both(requests, api=ApiPath(max_concurrency=1), max_model_len=100).requests

    assert (got["outcome"][:-1] == Outcome.REJECTED).all()
    assert got["end_s"][-1] == 0.125


def sendings(steps, token_s, free_s):
    """When the tokens of each step, (its end, its tokens), have been sent by a sender that is free at `free_s`."""
    for end_s, tokens in steps:
        if tokens:
            free_s = max(free_s, end_s) + token_s * tokens
        yield free_s


def test_a_sender_handles_tokens_one_after_the_other():
    ends_s, tokens = np.array([1.0, 1.5, 2.0, 3.0]), np.array([4, 4, 0, 1])

    assert all_sent_s(ends_s, tokens, 0.25).tolist() == [2.0, 3.0, 3.0, 3.25]


@pytest.mark.parametrize("token_s", [0.001, 0.02, 0.05, 0.2])  # idle, mostly idle, mostly busy, ever busier
def test_all_sendings_at_once_are_those_one_after_the_other(token_s):
    rng = np.random.default_rng(4)
    ends_s, tokens = np.cumsum(rng.exponential(0.1, 3000)), rng.integers(0, 5, 3000)

    assert all_sent_s(ends_s, tokens, token_s).tolist() == [*sendings(zip(ends_s, tokens, strict=True), token_s, 0.0)]
    assert len(all_sent_s(ends_s[:0], tokens[:0], token_s)) == 0


@pytest.mark.parametrize("token_s", [0.001, 0.02, 0.2])
def test_steps_that_a_sender_keeps_up_with_need_not_be_looked_at(token_s):
    sent_s, emitted = [], []
    for margin in (0.0, 0.99):
        line = {"anchor_s": 1.0, "first_s": 0.1, "growth_s": 1e-4, "line_steps": 1000, "offset": 3}
        with patch("llmsim.cluster.gateway.MARGIN", margin):
            sender = SenderQueue(Clock(), 0.0, token_s, instances=1)
            for steps in (40, 1, 2, 300):
                stretch = Stretch().begin(**line, steps=steps, decoding=4, context_tokens=100)
                sender.emitted(0, stretch, tokens=6)
                line["offset"] += steps
                sent_s.append(sender._sent_s[0])
                emitted += [(stretch.step_end_s(step + 1), 6 if step + 1 == steps else 4) for step in range(steps)]

    assert sent_s[:4] == sent_s[4:]
    assert sent_s[3] == [*sendings(emitted[: len(emitted) // 2], token_s, 0.0)][-1]


def test_tokens_wait_for_the_sender_of_their_instance_and_no_step_waits_for_them():
    # heads of both at 1/8 s: sent at 5/8 s; then request 0 alone decodes at 1/4 s and 3/8 s: 7/8 s, 9/8 s
    requests = workload((0, 10, 3), (0, 10, 1))
    record = both(requests, api=ApiPath(output_token_s=0.25))
    sent = after_sender(record, 0.25)

    assert record.timelines().token_times_s(0).tolist() == [0.125, 0.25, 0.375]
    assert sent.token_times_s(0).tolist() == [0.625, 0.875, 1.125]
    assert sent.token_times_s(1).tolist() == [0.625]
    assert sent.end_s.tolist() == [1.125, 0.625]


def test_the_next_turn_comes_after_the_last_token_has_been_sent():
    talk = Workload(
        np.zeros(2),
        np.array([10, 10]),
        np.array([3, 1]),
        "turns",
        sessions=Sessions(np.array([-1, 0]), np.array([0.0, 0.5]), np.array([0, 0])),
    )
    got = both(talk, api=ApiPath(output_token_s=0.25, response_s=1.0)).requests

    assert got["arrival_s"].tolist() == [0, 0.875 + 1.0 + 0.5]


def test_a_prefill_that_is_not_complete_sends_nothing():
    record = both(workload((0, 30, 1)), ChunkedPrefill(10, 4), api=ApiPath(output_token_s=0.25))

    assert after_sender(record, 0.25).token_times_s(0).tolist() == [0.375 + 0.25]


def test_little_s_law_holds_inside_the_gateway():
    rng = np.random.default_rng(5)
    n, most = 3000, 4
    requests = Workload(np.cumsum(rng.exponential(0.3, n)), np.full(n, 10), rng.integers(1, 17, n), "Little")
    got = serve(requests, ChunkedPrefill(), latency=STEP, api=ApiPath(max_concurrency=most)).requests
    edges_s = np.sort(np.concatenate([got["admitted_s"], got["end_s"]]))
    entered, left = (np.searchsorted(np.sort(got[name]), edges_s, side="right") for name in ("admitted_s", "end_s"))
    inside = np.average((entered - left)[:-1], weights=np.diff(edges_s))
    stay_s = (got["end_s"] - got["admitted_s"]).mean()

    assert (got["admitted_s"] > got["arrival_s"]).mean() > 0.3
    assert inside == pytest.approx(n / (edges_s[-1] - edges_s[0]) * stay_s)
    assert 0.8 * most < inside <= most


GATEWAY = (
    "workload.requests=40",
    'workload.lengths={source="fixed",prompt_tokens=100,output_tokens=20}',
    'workload.arrivals={process="constant",rate_per_s=20}',
)


def test_engine_and_client_see_different_first_tokens():
    bare = experiment.run(load_scenario("quickstart", GATEWAY))
    far = experiment.run(load_scenario("quickstart", [*GATEWAY, "host.request_s=0.5", "host.response_s=0.25"]))
    narrow = experiment.run(load_scenario("quickstart", [*GATEWAY, "gateway.max_concurrency=2"]))

    assert "engine_ttft_s" not in bare.score
    assert far.score["engine_ttft_s"]["mean"] == pytest.approx(bare.score["ttft_s"]["mean"])
    assert far.score["ttft_s"]["mean"] == pytest.approx(bare.score["ttft_s"]["mean"] + 0.75)
    waited_s = narrow.score["gateway_queueing_s"]["mean"]
    assert waited_s > 0.1
    assert narrow.score["ttft_s"]["mean"] == pytest.approx(narrow.score["engine_ttft_s"]["mean"] + waited_s)


def test_a_sender_that_cannot_keep_up_is_no_steady_state():
    fine, slow = (
        experiment.run(load_scenario("gateway", ["workload.requests=1500", f"host.output_token_s={token_s}"]))
        for token_s in (0.001, 0.0012)
    )

    assert fine.score["verdict"]["answer"] != "overloaded"
    assert slow.score["verdict"]["answer"] == "overloaded"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("gateway.max_queue=3", "max_queue without max_concurrency"),
        ("gateway.max_concurrency=0", "gateway.max_concurrency"),
        ("gateway.concurrency=3", "did you mean 'max_concurrency'"),
        ("host.output_token_s=-1", "host.output_token_s"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(change, message):
    with pytest.raises(InputError, match=message):
        load_scenario("quickstart", [change])


@pytest.mark.parametrize("values", [{"max_concurrency": 0}, {"max_queue": 3}, {"max_concurrency": 1, "max_queue": -1}])
def test_a_gateway_without_room_is_refused(values):
    with pytest.raises(InputError, match="gateway max_"):
        ApiPath(**values)
