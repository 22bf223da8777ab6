"""The virtual token counter: order, counters, lift and weights by hand, and what the scenario must have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.fair_queue import Charges, FairQueue
from llmsim.request import Outcome, Request
from llmsim.scenario import load_scenario
from llmsim.schedulers.least_counter_first import LeastCounterFirst
from llmsim.schedulers.vtc import Vtc
from llmsim.schedulers.vtc_predicted import VtcPredicted
from llmsim.testing import serve, workload
from llmsim.workload.classes import Classes


def by_tenant(requests, *tenants):
    names = tuple(dict.fromkeys(tenants))
    numbers = np.array([names.index(tenant) for tenant in tenants])
    return replace(requests, classes=Classes(numbers, names, (0,) * len(names)))


def order_of(requests, scheduler):
    record = serve(requests, scheduler)
    names = requests.classes.names
    return "".join(names[requests.classes.of_request[id]] for id in np.argsort(record.requests["first_scheduled_s"]))


def test_two_tenants_one_request_at_a_time():
    """NEXT_SYSTEMS section 5: A has 6 x (100, 50), B 3 x (300, 50), ties go to A."""
    requests = workload(*[(0.0, 100, 50)] * 6, *[(0.0, 300, 50)] * 3)

    assert order_of(by_tenant(requests, *"AAAAAABBB"), Vtc(max_num_seqs=1)) == "ABAABAABA"


def test_weights_divide_charges():
    """B's weight of 2 makes its request of 400 cost as much as A's of 200."""
    requests = by_tenant(workload(*[(0.0, 100, 50)] * 4, *[(0.0, 300, 50)] * 4), *"AAAABBBB")

    assert order_of(requests, Vtc(max_num_seqs=1, weights={"B": 2.0})) == "ABABABAB"
    assert order_of(requests, Vtc(max_num_seqs=1, output_weight=4.0)) == "ABABAABB"  # 300 and 500


LIFTS = Charges()


def queue_with(charges=LIFTS, **counters):
    """A queue in which these tenants have been charged so much, in turn, and wait no more."""
    queue = FairQueue(charges)
    for id, (tenant, counter) in enumerate(counters.items()):
        queue[id] = let_go = request(id, tenant, counter)
        queue.pop(id)
        let_go.first_scheduled_s, let_go.ended_as = 0.0, Outcome.FINISHED
    return queue


def request(id, tenant, prompt_tokens=1):
    made = Request(id, 0.0, prompt_tokens)
    made.tenant = tenant
    return made


def counters(queue):
    return {name: tenant.counter() for name, tenant in queue._tenants.items()}


def test_a_tenant_that_returns_is_lifted_to_the_least_of_those_that_wait():
    queue = queue_with(C=1500, B=40, A=1000)
    queue[10] = request(10, "A")
    list(queue)
    queue[11], queue[12] = request(11, "B"), request(12, "C")

    assert list(queue) == [11, 10, 12]
    assert counters(queue) == {"A": 1000, "B": 1000, "C": 1500}


def test_without_the_lift_it_keeps_its_credit():
    queue = queue_with(Charges(lift=False), A=1000, B=40)
    queue[10], queue[11], queue[12] = request(10, "A"), request(11, "B", 900), request(12, "B")

    assert list(queue) == [11, 12, 10]
    assert counters(queue) == {"A": 1000, "B": 40}


def test_if_none_waits_it_is_lifted_to_the_one_that_waited_last():
    queue = queue_with(A=1000, B=40)
    queue[10] = request(10, "A")
    list(queue)
    queue.pop(10).ended_as = Outcome.CANCELLED
    queue[11] = request(11, "B")
    list(queue)

    assert counters(queue) == {"A": 1000, "B": 1000}


def test_a_preempted_request_does_not_begin_to_wait_nor_pay_twice():
    queue = queue_with(A=1000, B=40)
    queue[10] = request(10, "A")
    queue[11] = request(11, "B", 100)
    list(queue)
    victim = queue.pop(11)
    victim.first_scheduled_s = 1.0
    list(queue)
    queue[11] = victim
    queue.move_to_end(11, last=False)

    assert list(queue) == [10, 11]
    assert counters(queue) == {"A": 1000, "B": 1100}


def test_predictions_are_charged_in_advance_and_corrected():
    queue = FairQueue(Charges(predicted=True))
    for id, tenant in enumerate("ABAB"):
        queue[id] = request(id, tenant, 10)
        queue.get(id).predicted_output_tokens = 40 if tenant == "A" else 5
    first = queue.pop(next(iter(queue)))
    first.first_scheduled_s = 0.0

    assert first.id == 0
    assert counters(queue) == {"A": 90, "B": 0}
    assert list(queue) == [1, 3, 2]
    first.emitted_before = 41
    assert counters(queue)["A"] == 92
    first.emitted_before, first.ended_as = 3, Outcome.FINISHED
    assert counters(queue)["A"] == 16


ONE = 'workload.classes=[{name="a", weight=1.0}, {name="b", weight=1.0, tenant="office"}]'


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["scheduler.name=vtc"], "vtc shares service out between tenants; expected .*classes"),
        ([ONE, "scheduler.name=vtc", "scheduler.weights={offise=2.0}"], "no class has the tenant 'offise'.*'office'"),
        ([ONE, "scheduler.name=vtc", "scheduler.weights={office=0.0}"], "weights.office is 0.0, expected more than 0"),
        ([ONE, "scheduler.name=vtc_predicted"], "needs predicted output lengths"),
        (
            [ONE, "scheduler.name=vtc", "kv_transfer.bandwidth_gb_per_s=25",
             'pool=[{name="p", role="prefill"}, {name="d", role="decode"}]'],
            "pool 'p' has role = 'prefill', expected 'mixed'",
        ),
    ],
)  # fmt: skip
def test_what_the_scenario_lacks_is_told_in_a_line(changes, says):
    with pytest.raises(InputError, match=says) as error:
        experiment.run(load_scenario("quickstart", ["workload.requests=5", *changes]))

    assert "\n" not in str(error.value)


@pytest.mark.parametrize("policy", [Vtc, VtcPredicted, LeastCounterFirst])
def test_they_differ_from_chunked_prefill_in_the_queue_alone(policy):
    assert policy().max_num_batched_tokens == 2048
    assert policy().needs_tenants
