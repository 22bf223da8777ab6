"""Instances that come and go: the rule against Kubernetes', the cluster against hand calculations."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.cluster.autoscaling import Autoscaling
from llmsim.errors import InputError, PolicyError
from llmsim.metrics.paid_time import changes, instance_seconds, instances_at, paid_until
from llmsim.metrics.sections.paid_instances import PaidInstances
from llmsim.record import InstanceState
from llmsim.routers.least_outstanding import LeastOutstanding
from llmsim.scheduler import Decision, Scheduler
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import LinearSteps, serve, workload
from llmsim.workload.contract import Workload

STEP_S = 0.125  # sums of it are exact
STEPS = LinearSteps(step_s=STEP_S, prefill_token_s=0.0)
STARTING, READY, DRAINING = (int(state) for state in list(InstanceState)[1:])


def rules(**changed):
    return Autoscaling(**{"target": 2.0, "max_instances": 10} | changed)


def every(gap_s, n, output_tokens, first_s=None):
    """Requests at equal gaps; each takes as many steps as it has tokens, prompts being computed while others decode."""
    arrival_s = gap_s * np.arange(n) + (gap_s if first_s is None else first_s)
    return Workload(arrival_s, np.full(n, 10), np.full(n, output_tokens), "by hand")


def states(record):
    """Rows as tuples, in order of instance and time."""
    columns = (record.instance_states[name].tolist() for name in ("instance", "state", "start_s", "end_s"))
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize(
    ("current", "total", "recommended"),
    [
        (3, 12.0, 6),  # the documentation's example: a metric twice its target doubles, half of it halves
        (4, 4.0, 2),
        (4, 8.7, 4),  # within a tenth of the target: nothing changes
        (4, 7.2, 4),
        (4, 8.9, 5),  # not within: rounded up
        (4, 7.1, 4),
        (4, 0.0, 1),  # at least min_instances
        (4, 100.0, 10),  # at most max_instances
    ],
)
def test_what_a_load_asks_for(current, total, recommended):
    assert rules().recommended(current, total) == recommended


@pytest.mark.parametrize(
    ("current", "recommended", "past", "desired"),
    [
        # cases and results of Kubernetes' unit tests of stabilizeRecommendationWithBehaviors, windows 300 s and 600 s
        (5, 10, [(-120, 8), (-240, 7)], 7),
        (8, 3, [(-300, 5), (-480, 4)], 5),
        (5, 5, [(-60, 5)], 5),
        # exactly a window ago is too long ago
        (8, 3, [(-600, 8)], 3),
        (5, 10, [(-300, 5)], 10),
        # between what both windows allow, the present number stays
        (6, 4, [(-60, 8)], 6),
    ],
)
def test_stabilisation_is_that_of_kubernetes(current, recommended, past, desired):
    windows = {"scale_up_stabilization_window_s": 300.0, "scale_down_stabilization_window_s": 600.0}

    assert rules(**windows).stabilised(current, recommended, past, 0.0) == desired


@pytest.mark.parametrize(
    ("target", "first", "settled"),
    [
        (3.0, 1, 6),  # ceil(16 / 3)
        (5.0, 1, 4),
        (16.0, 5, 1),
        (1.0, 1, 10),  # no more than there may be
        (5.2, 3, 3),  # 16 / (3 * 5.2) = 1.026: within the tolerance
        (5.2, 1, 4),
    ],
)
def test_a_constant_load_settles_at_load_over_target(target, first, settled):
    """8 requests/s that take 16 steps of 0.125 s each: by Little's law 16 in the system, at every look exactly."""
    record = serve(
        every(STEP_S, 400, 16),
        ChunkedPrefill(),
        latency=STEPS,
        instances=10,
        autoscaling=rules(target=target, first_instances=first, interval_s=5.0, scale_down_stabilization_window_s=0.0),
    )
    # the load is there from 2.125 s to 50 s; who goes at the first look, at 5 s, has drained in 2 s
    looks_s = np.arange(7.5, 50.0, 0.5)

    assert set(instances_at(record.instance_states, looks_s).tolist()) == {settled}


@pytest.mark.parametrize("cold_start_s", [0.0, 2.0, 8.0, 30.0])
def test_a_step_in_load_leaves_the_backlog_of_the_cold_start(cold_start_s):
    """Four requests/s, instances that serve one after the other at one a second; decided at 4 s.

    Up to when the others are ready, at t = 4 + c, all come to the first instance: 4 t - 1 arrivals, from 0.25 s on,
    and one done each second, from 1.25 s on: t - 1. So 3 t wait or are served there; the last of them arrived 0.25 s
    before t and is done at 0.25 + (4 t - 1).
    """
    record = serve(
        every(0.25, 400, 8),
        ChunkedPrefill(max_num_seqs=1),
        latency=STEPS,
        instances=6,
        router=LeastOutstanding(),
        autoscaling=rules(max_instances=6, interval_s=4.0, cold_start_s=cold_start_s),
    )
    requests, ready_s = record.requests, 4.0 + cold_start_s
    waits_s = requests["end_s"] - requests["arrival_s"]
    there = (requests["arrival_s"] < ready_s) & (requests["end_s"] >= ready_s)

    assert there.sum() == 3 * ready_s
    assert (requests["instance"][requests["arrival_s"] < ready_s] == 0).all()
    assert waits_s.max() == pytest.approx(0.25 + 4 * ready_s - 1 - (ready_s - 0.25), abs=1e-9)
    later = waits_s[(requests["arrival_s"] >= ready_s) & (requests["instance"] > 0)]
    assert later.max() <= 2.0  # five more serve four a second: nobody meets more than one ahead


def test_a_cluster_goes_down_when_the_window_has_passed_and_pays_until_the_last_has_left():
    """Six requests of 20 s from the start, a long one on instance 1; looks every 4 s, a window of 12 s."""
    requests = workload(*[(0.0, 10, 160)] * 5, (0.0, 10, 480), (60.0, 10, 8))
    record = serve(
        requests,
        ChunkedPrefill(),
        latency=STEPS,
        instances=3,
        autoscaling=rules(
            max_instances=3,
            min_instances=1,
            first_instances=3,
            interval_s=4.0,
            cold_start_s=100.0,
            scale_down_stabilization_window_s=12.0,
        ),
    )
    # 6 / 2 = 3 up to the look at 20 s, before whose steps end nobody has left; 1 from the look at 24 s on, which holds
    # when 20 s is a window old: at 32 s. Request 5, on instance 2, ends at 60 s.
    assert states(record) == [
        (0, READY, 0.0, 61.0),
        (1, READY, 0.0, 32.0),
        (2, READY, 0.0, 32.0),
        (2, DRAINING, 32.0, 60.0),
    ]
    assert instance_seconds(record.instance_states) == 61 + 32 + 60
    assert record.requests["instance"].tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_a_draining_instance_gets_nothing_and_a_starting_one_is_stopped_first():
    """Two instances, each with a long request; the load comes back while one drains: a third, cold, is started."""
    long = [(0.0, 10, 800), (0.0, 10, 800)]
    more = [(8.5, 10, 40)] * 4
    record = serve(
        workload(*long, *more, (40.0, 10, 8)),
        ChunkedPrefill(),
        latency=STEPS,
        instances=3,
        router=LeastOutstanding(),
        autoscaling=rules(
            max_instances=3, first_instances=2, interval_s=4.0, cold_start_s=6.0, scale_down_stabilization_window_s=0.0
        ),
    )
    # 4 s: 2 on two, target 2 each: one goes, the higher number, and drains until 100 s. 12 s: five on instance 0, three
    # are wanted and one is off: instance 2 starts. 16 s: the four have ended (8.5 + 5 s), one is wanted: it goes again.
    assert states(record) == [
        (0, READY, 0.0, 100.0),
        (1, READY, 0.0, 4.0),
        (1, DRAINING, 4.0, 100.0),
        (2, STARTING, 12.0, 16.0),
    ]
    assert changes(record.instance_states) == (1, 2)
    assert record.requests["instance"].tolist() == [0, 1, 0, 0, 0, 0, 0]


def test_a_start_that_was_called_off_does_not_count_for_the_next():
    """A load that comes, goes and comes again: wanted at 4 s, not at 8 s, at 12 s and after; ten seconds to start."""
    record = serve(
        workload(*[(3.5, 10, 8)] * 4, *[(11.5, 10, 160)] * 4),
        ChunkedPrefill(),
        latency=STEPS,
        instances=2,
        autoscaling=rules(max_instances=2, interval_s=4.0, cold_start_s=10.0, scale_down_stabilization_window_s=0.0),
    )

    assert states(record) == [
        (0, READY, 0.0, 31.5),
        (1, STARTING, 4.0, 8.0),
        (1, STARTING, 12.0, 22.0),
        (1, READY, 22.0, 31.5),
    ]
    assert changes(record.instance_states) == (2, 1)


def test_the_length_of_queues_and_the_use_of_memory_are_metrics():
    """Five seats: of 40 requests at once 35 wait. Each takes 2 blocks of 100: at most 10 % of memory is used."""
    at_once = workload(*[(0.0, 17, 8)] * 40, (2.0, 17, 8))
    for metric, target, recommended in (("waiting", 10.0, 4), ("kv_utilisation", 0.05, 2), ("outstanding", 10.0, 4)):
        record = serve(
            at_once,
            ChunkedPrefill(max_num_seqs=5),
            latency=STEPS,
            num_gpu_blocks=100,
            instances=10,
            autoscaling=rules(metric=metric, target=target, interval_s=0.5),
        )
        assert instances_at(record.instance_states, np.array([0.5, 0.6])).tolist() == [recommended] * 2, metric


@pytest.mark.parametrize("router", [None, LeastOutstanding()])
def test_a_cluster_that_cannot_change_is_the_cluster_without(router):
    requests = Workload(
        np.cumsum(np.full(200, 0.05)), 1 + np.arange(200) * 37 % 300, 1 + np.arange(200) * 53 % 90, "mixed"
    )
    plain = serve(requests, ChunkedPrefill(), instances=3, router=router)
    fixed = serve(
        requests,
        ChunkedPrefill(),
        instances=3,
        router=router,
        autoscaling=rules(min_instances=3, first_instances=3, max_instances=3, interval_s=0.7),
    )

    assert all(np.array_equal(plain.requests[name], fixed.requests[name], equal_nan=True) for name in plain.requests)
    assert all(np.array_equal(plain.steps[name], fixed.steps[name]) for name in plain.steps)
    assert len(plain.instance_states["instance"]) == 0
    assert states(fixed) == [(number, READY, 0.0, fixed.end_s) for number in range(3)]


def test_looking_at_the_load_ends_with_the_run():
    class Never(Scheduler):
        def schedule(self, view):
            return Decision()

    with pytest.raises(PolicyError, match="1 requests wait for ever"):
        serve(workload((1.0, 10, 10)), Never(), instances=10, autoscaling=rules(cold_start_s=50.0, target=0.1))


def test_states_by_hand():
    rows = [(0, READY, 0, 10), (1, STARTING, 2, 4), (1, READY, 4, 6), (1, DRAINING, 6, 7), (1, STARTING, 8, 10)]
    table = {
        name: np.array(column)
        for name, column in zip(("instance", "state", "start_s", "end_s"), zip(*rows, strict=True), strict=True)
    }

    assert instance_seconds(table) == 10 + 5 + 2
    assert instance_seconds(table, (InstanceState.READY,), 5.0, 8.0) == 3 + 1
    assert instances_at(table, np.array([0.0, 2.0, 6.5, 7.0, 9.0])).tolist() == [1, 2, 2, 1, 2]
    assert paid_until(table, np.array([0.0, 3.0, 7.5, 10.0])).tolist() == [0.0, 4.0, 12.5, 17.0]
    assert changes(table) == (2, 1)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"target": 0.0}, "target = 0.0, interval_s = 15.0: expected more than 0"),
        ({"min_instances": 2}, "min_instances = 2, first_instances = 1, max_instances = 10: expected numbers"),
        ({"max_instances": 3}, "max_instances = 3, but there are 10 instances"),
    ],
)
def test_rules_that_cannot_be_are_told(changed, said):
    with pytest.raises(InputError, match=said):
        serve(workload((1.0, 10, 10)), ChunkedPrefill(), instances=10, autoscaling=rules(**changed))


def test_a_run_that_ends_when_it_begins_costs_nothing():
    never_fits = workload((0.0, 900_000, 10))
    record = serve(never_fits, ChunkedPrefill(), instances=10, autoscaling=rules())
    paid = PaidInstances.of(record, 0, usd_per_instance_hour=2.0, max_instances=10)

    assert (record.end_s, states(record)) == (0.0, [])
    assert (paid.usd, paid.mean_instances, paid.peak_instances, paid.started, paid.told_to_go) == (0.0, None, 0, 0, 0)
