"""The checks for policy authors find each way in which a policy can break the contract."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.errors import PolicyError
from llmsim.router import Router
from llmsim.routers.round_robin import RoundRobin
from llmsim.scheduler import DECODE, Decision, Scheduler
from llmsim.schedulers.fcfs import Fcfs
from llmsim.testing import (
    LinearSteps,
    check_arrivals,
    check_latency,
    check_lengths,
    check_router,
    check_scheduler,
)
from llmsim.workload.arrival_process import ArrivalProcess
from llmsim.workload.length_source import LengthSource


class Wrapped(Scheduler):
    """First come first served, spoiled by a subclass."""

    _sound = Fcfs()

    def schedule(self, view):
        return self._sound.schedule(view)


class Forgetful(Wrapped):
    def __init__(self):
        self.asked = 0

    def schedule(self, view):
        self.asked += 1
        return DECODE if self.asked % 2 else self._sound.schedule(view)


class Meddling(Wrapped):
    def schedule(self, view):
        for request in view.waiting:
            request.prompt_tokens = 1
        return self._sound.schedule(view)


class Refusing(Scheduler):
    def schedule(self, view):
        return DECODE


class Greedy(Scheduler):
    def schedule(self, view):
        return Decision({request.id: request.tokens_to_prefill for request in view.waiting})


class Watching(Wrapped):
    """Gives up who has emitted ten tokens, but isn't asked at that time."""

    def schedule(self, view):
        decision = self._sound.schedule(view)
        late = frozenset(r.id for r in view.running if r.emitted_tokens == 10)
        late -= set(decision.preempt)
        return decision._replace(abandon=late) if 0 < len(late) < view.num_running else decision


@pytest.mark.parametrize(
    ("policy", "error", "says"),
    [
        (Forgetful, AssertionError, "the same view, another decision"),
        (Meddling, AssertionError, "the policy changed what it may only read"),
        (Refusing, PolicyError, "Refusing: 60 requests wait for ever"),
        (Greedy, PolicyError, "Greedy at t=.* KV blocks"),
        (Watching, AssertionError, "set asks_every_step or review_at_s"),
    ],
)
def test_a_spoiled_scheduler_is_found_out(policy, error, says):
    with pytest.raises(error, match=says):
        check_scheduler(policy())


@pytest.mark.parametrize(("check", "policy"), [(check_scheduler, Fcfs), (check_router, RoundRobin)])
def test_a_class_in_place_of_a_policy_is_told(check, policy):
    with pytest.raises(TypeError, match=rf"{policy.__name__} is a class, expected one made of it, such as .*\(\)"):
        check(policy)


def test_asking_every_step_mends_a_policy_that_watches():
    class Attentive(Watching):
        asks_every_step = True

    check_scheduler(Attentive())


class Beyond(Router):
    def route(self, request, fleet):
        return fleet.size


class Counting(Router):
    def __init__(self):
        self.routed = 0

    def route(self, request, fleet):
        self.routed += 1
        return self.routed % fleet.size


class Approximate(Router):
    def route(self, request, fleet):
        return 0.0


class Writing(Router):
    def route(self, request, fleet):
        fleet.outstanding[0] += 1
        return 0


@pytest.mark.parametrize(
    ("policy", "error", "says"),
    [
        (Beyond, AssertionError, "expected an instance from 0 to 0"),
        (Counting, AssertionError, "the same view, another instance"),
        (Approximate, AssertionError, "expected an instance"),
        (Writing, PolicyError, "Writing at t=.* ValueError: assignment destination is read-only"),
    ],
)
def test_a_spoiled_router_is_found_out(policy, error, says):
    with pytest.raises(error, match=says):
        check_router(policy())


class Drifting(LinearSteps):
    """Another time whenever it is asked."""

    asked = 0

    def step_time_s(self, prefill, decoding, context_tokens):
        Drifting.asked += 1
        return 0.01 + 1e-9 * Drifting.asked


class Free(LinearSteps):
    def step_time_s(self, prefill, decoding, context_tokens):
        return 0.0


class Hurrying(LinearSteps):
    """The longer the context, the faster."""

    def step_time_s(self, prefill, decoding, context_tokens):
        return 1.0 / (1 + context_tokens)


class Crooked(LinearSteps):
    """Grows by context, but says that it doesn't."""

    def step_time_s(self, prefill, decoding, context_tokens):
        return 0.01 + 1e-6 * context_tokens


class Counting(LinearSteps):
    def step_time_s(self, prefill, decoding, context_tokens):
        return 1


@pytest.mark.parametrize(
    ("latency", "message"),
    [
        (Drifting(), "the same step, another time"),
        (Free(), "expected a finite time above 0"),
        (Hurrying(), "more context is faster"),
        (Crooked(), "step 1 takes"),
        (Counting(), "expected a float"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_latency_model_that_breaks_the_contract_is_caught(latency, message):
    with pytest.raises(AssertionError, match=message):
        check_latency(latency)


def test_a_class_of_step_times_is_told_from_step_times():
    with pytest.raises(TypeError, match="LinearSteps is a class"):
        check_latency(LinearSteps)


class Times(ArrivalProcess):
    """Times that a function makes."""

    def __init__(self, make):
        self._make = make

    def times_s(self, rng, requests):
        return self._make(rng, requests)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rng, n: np.ones(n + 1), "expected times of shape"),
        (lambda rng, n: np.ones(n, dtype=int), "expected float64"),
        (lambda rng, n: np.full(n, np.inf), "not finite"),
        (lambda rng, n: -np.ones(n), "do not ascend from 0"),
        (lambda rng, n: rng.random(n), "do not ascend from 0"),
        (lambda rng, n: np.cumsum(np.random.default_rng().random(n)), "random numbers of its own"),
        (lambda rng, n: np.sort(rng.random(n)), "do not begin with the same times"),
    ],
)
def test_an_arrival_process_that_breaks_the_contract_is_caught(make, message):
    with pytest.raises(AssertionError, match=message):
        check_arrivals(Times(make))


class Tokens(LengthSource):
    """Lengths that a function makes, for prompts and outputs alike."""

    def __init__(self, make):
        self._make = make

    def tokens(self, rng, requests):
        return self._make(rng, requests), self._make(rng, requests)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rng, n: np.ones(n + 1, dtype=np.int64), "expected lengths of shape"),
        (lambda rng, n: np.ones(n), "expected int64"),
        (lambda rng, n: rng.integers(0, 3, n), "a length below 1"),
        (lambda rng, n: np.random.default_rng().integers(1, 99, n), "random numbers of its own"),
        (lambda rng, n: rng.integers(1, 99, n)[::-1], "do not begin with the same lengths"),
    ],
)
def test_a_length_source_that_breaks_the_contract_is_caught(make, message):
    with pytest.raises(AssertionError, match=message):
        check_lengths(Tokens(make))
