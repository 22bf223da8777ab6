"""A cluster that comes and goes: the same in stretches and single steps, nobody lost, every decision recomputed."""

from __future__ import annotations

from math import ceil

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim import discovery
from llmsim.cluster.autoscaling import Autoscaling
from llmsim.cluster.clients import DIRECT, ApiPath
from llmsim.cluster.fleet import ORACLE, Reports
from llmsim.record import InstanceState
from llmsim.router import Router
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.fcfs import Fcfs
from llmsim.testing import LinearSteps, RouterPurityChecker, same, serve
from llmsim.workload.contract import Workload
from llmsim.workload.patience import Patience
from tests.places import cases

BLOCKS, MOST = 40, 5
#: round numbers, so that looks, arrivals and step ends coincide; and others, so that sums round
LATENCIES = [LinearSteps(0.125, 0.0), LinearSteps(0.0101, 0.00013, 0.00037, 1.7e-6)]
ROUTERS = [discovery.find("llmsim.routers", name, Router) for name in discovery.names("llmsim.routers")]
STARTING, READY, DRAINING = (int(state) for state in list(InstanceState)[1:])


@st.composite
def workloads(draw):
    n = draw(st.integers(1, 40))
    gap_s = draw(st.sampled_from([0.0, 0.125, 0.0173, 0.4, 2.0]))
    gaps = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    prompts = draw(st.lists(st.integers(1, 150), min_size=n, max_size=n))
    outputs = draw(st.lists(st.integers(1, 70), min_size=n, max_size=n))
    arrival_s = np.cumsum(np.array([0, *gaps[1:]]) * gap_s)
    return Workload(arrival_s, np.array(prompts), np.array(outputs), "hypothesis")


@st.composite
def rules(draw, metrics=("outstanding", "waiting", "kv_utilisation")):
    least = draw(st.integers(1, 3))
    metric = draw(st.sampled_from(metrics))
    return Autoscaling(
        metric=metric,
        target=draw(st.sampled_from([0.05, 0.3] if metric == "kv_utilisation" else [0.5, 1.0, 2.5, 6.0])),
        min_instances=least,
        first_instances=draw(st.integers(least, MOST)),
        max_instances=MOST,
        interval_s=draw(st.sampled_from([0.125, 0.5, 0.0937, 3.0])),
        cold_start_s=draw(st.sampled_from([0.0, 0.25, 0.1117, 5.0])),
        tolerance=draw(st.sampled_from([0.0, 0.1])),
        scale_up_stabilization_window_s=draw(st.sampled_from([0.0, 0.0, 0.75])),
        scale_down_stabilization_window_s=draw(st.sampled_from([0.0, 1.0, 1.3])),
    )


def served(requests, autoscaling, **options):
    return serve(requests, num_gpu_blocks=BLOCKS, instances=MOST, autoscaling=autoscaling, **options)


@settings(max_examples=cases(60), deadline=None)
@given(
    requests=workloads(),
    autoscaling=rules(),
    router=st.sampled_from(ROUTERS),
    scheduler=st.sampled_from([ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=6), Fcfs()]),
    latency=st.sampled_from(LATENCIES),
    reports=st.sampled_from([ORACLE, ORACLE, Reports(0.125), Reports(0.1, False)]),
    patience=st.sampled_from([None, None, (0.5, 0.25, 0.0), (np.inf, 0.2, 0.3)]),
    max_in_flight=st.sampled_from([None, None, 2, 7]),
    api=st.sampled_from([DIRECT, DIRECT, ApiPath(0.25, 0.0, 0.0), ApiPath(output_token_s=0.02, max_concurrency=5)]),
    prefix_caching=st.booleans(),
    until_s=st.sampled_from([None, None, 3.3]),
)
def test_both_paths_agree_and_no_request_is_lost(requests, autoscaling, router, scheduler, patience, **options):
    if patience is not None:
        first_s, next_s, delay_s = patience
        spread = 1 + np.arange(len(requests)) % 3
        patience = Patience(first_s * spread, next_s * spread, delay_s)
    options |= {"scheduler": scheduler, "patience": patience}
    stretches, single = (  # serve() checks that each has one outcome, and that no memory is held when all have ended
        served(requests, autoscaling, router=RouterPurityChecker(router()), stretches=way, **options)
        for way in (True, False)
    )

    assert same(stretches, single)
    assert_served_only_by_those_who_were_there(stretches)
    assert_between_least_and_most(stretches, autoscaling)


def assert_served_only_by_those_who_were_there(record):
    """Requests are sent to ready instances, and these are paid for until the requests have ended."""
    requests, states = record.requests, record.instance_states
    routed_s = requests.get("admitted_s", requests["sent_s"])  # a gateway that is full routes later
    for number, sent_s, end_s in zip(requests["instance"], routed_s, requests["end_s"], strict=True):
        if number < 0:
            continue
        own = states["instance"] == number
        start_s, stop_s = states["start_s"][own], states["end_s"][own]
        at = np.searchsorted(start_s, sent_s, side="right") - 1
        assert at >= 0
        assert states["state"][own][at] == READY
        assert sent_s < stop_s[at] or sent_s == record.end_s
        drains = at + 1 < len(start_s) and states["state"][own][at + 1] == DRAINING
        assert end_s <= (stop_s[at + 1] if drains else stop_s[at])


def assert_between_least_and_most(record, autoscaling):
    states = record.instance_states
    for time_s in {*states["start_s"].tolist(), *states["end_s"].tolist()} - {record.end_s}:
        there = (states["start_s"] <= time_s) & (time_s < states["end_s"])
        draining = there & (states["state"] == DRAINING)
        assert len(set(states["instance"][there])) == there.sum() <= MOST
        assert (there & ~draining).sum() >= autoscaling.min_instances
        assert (there & (states["state"] == READY)).any()
    starts = np.flatnonzero(states["state"] == STARTING)
    for row in starts[starts + 1 < len(states["state"])]:  # followed by being ready, or called off
        if (
            states["instance"][row + 1] == states["instance"][row]
            and states["start_s"][row + 1] == states["end_s"][row]
        ):
            assert states["end_s"][row] == states["start_s"][row] + autoscaling.cold_start_s


@settings(max_examples=cases(50), deadline=None)
@given(requests=workloads(), autoscaling=rules(metrics=["outstanding"]), latency=st.sampled_from(LATENCIES))
def test_every_decision_follows_from_the_record(requests, autoscaling, latency):
    """Requests by their times, the rule written down anew: how many instances start or are ready after each look."""
    record = served(requests, autoscaling, scheduler=Fcfs(), latency=latency)
    rows, states = record.requests, record.instance_states
    past = [(0.0, autoscaling.first_instances)]
    current = autoscaling.first_instances
    look = 0
    while (now_s := (look := look + 1) * autoscaling.interval_s) < record.end_s:
        ready = states["instance"][
            (states["state"] == READY) & (states["start_s"] < now_s) & (now_s <= states["end_s"])
        ]
        there = (rows["sent_s"] < now_s) & (now_s <= rows["end_s"]) & np.isin(rows["instance"], ready)
        ratio = there.sum() / current / autoscaling.target
        wanted = current if abs(ratio - 1) <= autoscaling.tolerance else ceil(there.sum() / autoscaling.target)
        wanted = max(autoscaling.min_instances, min(autoscaling.max_instances, wanted))
        past.append((now_s, wanted))
        recent = {
            window_s: [count for at_s, count in past if at_s > now_s - window_s or at_s == now_s]
            for window_s in (
                autoscaling.scale_up_stabilization_window_s,
                autoscaling.scale_down_stabilization_window_s,
            )
        }
        desired = current
        desired = max(desired, min(recent[autoscaling.scale_up_stabilization_window_s]))
        desired = min(desired, max(recent[autoscaling.scale_down_stabilization_window_s]))
        held = (states["state"] == DRAINING) & (states["start_s"] < now_s) & (now_s <= states["end_s"])
        desired = min(desired, max(current, MOST - int(held.sum())))  # those that drain keep their places
        after = (states["start_s"] <= now_s) & (now_s < states["end_s"]) & (states["state"] != DRAINING)
        assert after.sum() == desired, f"at {now_s} s"
        current = desired
