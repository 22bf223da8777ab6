"""Conversations and retries across instances: stretches and single steps give the same record, to the bit."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llmsim.abandonment import Abandoning, Deadlines
from llmsim.cluster.clients import DIRECT, ApiPath
from llmsim.cluster.gateway import after_sender
from llmsim.engine.exchange import Disaggregation, Link
from llmsim.request import Outcome
from llmsim.routers.least_outstanding import LeastOutstanding
from llmsim.routers.random import Random
from llmsim.routers.round_robin import RoundRobin
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.fcfs import Fcfs
from llmsim.schedulers.static import Static
from llmsim.testing import LinearSteps, same, serve
from llmsim.workload.contract import Workload
from llmsim.workload.patience import Patience
from llmsim.workload.prefixes import Prefixes
from llmsim.workload.retries import FAILURES, Retries
from llmsim.workload.sessions import NO_REQUEST, Sessions
from tests.places import cases
from tests.properties.asynchronous import ASYNC, declared

#: constant step times make the boundaries of all instances, and what follows on them, coincide all the time
CONSTANT = LinearSteps(0.125, 0.0)
LATENCIES = [CONSTANT, CONSTANT, LinearSteps(0.0101, 0.00013, 0.00037, 1.7e-6)]
SCHEDULERS = [
    ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=3),
    ChunkedPrefill(),
    Fcfs(max_num_batched_tokens=200, max_num_seqs=5, watermark=0.0),
    Static(max_num_seqs=2),
    Abandoning(ChunkedPrefill(max_num_seqs=2), Deadlines(ttft_s=0.25)),
    Abandoning(Fcfs(), Deadlines(e2e_s=2.0)),
]
ROUTERS = [RoundRobin(), Random(), LeastOutstanding()]
PATHS = [
    DIRECT,
    ApiPath(request_s=0.125),
    ApiPath(0.02, 0.001, 0.125),
    ApiPath(max_concurrency=2),
    ApiPath(0.02, 0.001, 0.125, max_concurrency=1, max_queue=2),
    ApiPath(response_s=0.125, output_token_s=0.0625, max_concurrency=3, max_queue=0),
    ApiPath(output_token_s=0.003),
]
DISAGGREGATED = Disaggregation(Link(1.0e5, 0.125), 1000, RoundRobin())


@st.composite
def workloads(draw):
    """Requests of which some come after others: chains of conversations, of any lengths, interleaved."""
    n = draw(st.integers(1, 24))
    gap_s = draw(st.sampled_from([0.0, 0.0, 0.125, 0.0173]))
    gaps = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    prompts = draw(st.lists(st.integers(1, 150), min_size=n, max_size=n))
    outputs = draw(st.lists(st.integers(1, 30), min_size=n, max_size=n))
    think_s = draw(st.lists(st.sampled_from([0.0, 0.0, 0.125, 0.25, 0.0312]), min_size=n, max_size=n))
    after, conversation, free = [], [], []
    for i in range(n):
        before = draw(st.sampled_from([NO_REQUEST, *free]))
        goes_on = before != NO_REQUEST and draw(st.booleans())
        after.append(before)
        conversation.append(conversation[before] if goes_on else i)
        free = [f for f in free if f != before] + [i]
    sessions = Sessions(np.array(after), np.array(think_s), np.array(conversation))
    ends = np.array(prompts) + np.array(outputs)
    prefixes = Prefixes(np.array(conversation), ends, np.arange(n + 1))
    arrival_s = np.cumsum(np.array([0, *gaps[1:]]) * gap_s)
    return Workload(arrival_s, np.array(prompts), np.array(outputs), "hypothesis", prefixes, sessions=sessions)


@st.composite
def retries(draw):
    """Up to two more attempts, after backoffs that coincide with steps, or do not."""
    waits = draw(st.integers(1, 2))
    on = draw(st.sampled_from([FAILURES, frozenset({Outcome.ABANDONED}), frozenset({Outcome.CANCELLED})]))
    return np.array(draw(st.sampled_from([(0.125, 0.25), (0.01, 0.5), (0.375, 0.0173)]))[:waits]), on


def retrying(drawn, requests):
    backoff_s, on = drawn
    return Retries(np.tile(backoff_s, (len(requests), 1)), on)


@settings(max_examples=cases(160), deadline=None)
@given(
    requests=workloads(),
    again=st.none() | retries(),
    scheduler=st.sampled_from(SCHEDULERS),
    latency=st.sampled_from(LATENCIES),
    blocks=st.integers(14, 60),
    max_model_len=st.sampled_from([100, 1000]),
    router=st.sampled_from(ROUTERS),
    instances=st.integers(1, 3),
    max_in_flight=st.sampled_from([None, None, 1, 4]),
    api=st.sampled_from(PATHS),
    until_s=st.sampled_from([None, None, 1.0, 3.3]),
    patience=st.sampled_from([None, None, (0.5, 0.25, 0.0), (1.01, np.inf, 0.125), (0.1, 0.2, 0.3)]),
    prefix_caching=st.booleans(),
    roles=st.sampled_from([(), (), ("prefill", "decode"), ("mixed", "decode", "prefill")]),
    ends=ASYNC,
)
def test_stretches_equal_single_steps(
    requests,
    again,
    scheduler,
    latency,
    blocks,
    max_model_len,
    router,
    instances,
    max_in_flight,
    api,
    until_s,
    patience,
    prefix_caching,
    roles,
    ends,
):
    if patience is not None:
        first_s, next_s, delay_s = patience
        patience = Patience(np.full(len(requests), first_s), np.full(len(requests), next_s), delay_s)
    options = {
        "latency": latency,
        "num_gpu_blocks": blocks,
        "max_model_len": max_model_len,
        "router": router,
        "instances": instances,
        "until_s": until_s,
        "patience": patience,
        "max_in_flight": max_in_flight,
        "api": api,
        "prefix_caching": prefix_caching,
        "async_scheduling": ends is not None,
        "retries": None if again is None else retrying(again, requests),
    }
    if roles:
        options |= {"instances": len(roles), "roles": roles, "disaggregation": DISAGGREGATED}
        assume(api.output_token_s == 0)
    requests = declared(requests, ends)
    stretches, single = (serve(requests, scheduler, stretches=on, **options) for on in (True, False))

    assert same(stretches, single)
    check_followers(stretches, requests, options["retries"], api, cut_off=until_s is not None)


def check_followers(record, requests, again, api, *, cut_off):
    """Whoever is in the record is there because of another one that ended as it must, and nobody is missing."""
    rows = record.requests
    attempts = 1 if again is None else again.attempts
    there = {(i, a): row for row, (i, a) in enumerate(zip(rows["request"], rows["attempt"], strict=True))}
    finished = rows["outcome"] == Outcome.FINISHED
    end_s = np.where(finished, after_sender(record, api.output_token_s).end_s, rows["end_s"])
    over_s = np.fmin(rows["left_s"], end_s + api.response_s)
    sessions = requests.sessions
    for (i, a), row in there.items():
        before = sessions.after[i]
        if a:
            cause = there[i, a - 1]
            assert Outcome(rows["outcome"][cause]) in again.on
            assert rows["arrival_s"][row] == over_s[cause] + again.backoff_s[i, a - 1]
        elif before == NO_REQUEST:
            assert rows["arrival_s"][row] == requests.arrival_s[i]
        elif sessions.conversation[before] == sessions.conversation[i]:
            cause = max((b, r) for (j, b), r in there.items() if j == before)[1]
            assert rows["outcome"][cause] == Outcome.FINISHED
            assert rows["arrival_s"][row] == max(over_s[cause] + sessions.think_s[i], requests.arrival_s[i])
    if cut_off:
        return
    for (i, a), row in there.items():  # nobody who had to come has not
        if a + 1 < attempts and Outcome(rows["outcome"][row]) in again.on:
            assert (i, a + 1) in there
        elif rows["outcome"][row] == Outcome.FINISHED:
            follower = sessions.following[i]
            assert follower == NO_REQUEST or (follower, 0) in there
    for i in np.flatnonzero(sessions.after == NO_REQUEST):
        assert (i, 0) in there
