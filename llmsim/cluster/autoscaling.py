"""A cluster that grows and shrinks with its load, by the rule of Kubernetes' Horizontal Pod Autoscaler.

Instances are there from the beginning, up to the most there may be; each is off, starting, ready or draining. Routers
see the ready ones. The load is looked at every `interval_s` seconds, before anything else of that time happens, so that
the decision does not depend on how steps are grouped.

The rule (kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale, "Algorithm details"):
desired = ceil(current * metric / target), unless metric / target is within a tolerance of 1; and the stabilisation
windows of its `behavior`: up to the least, down to the most that was recommended within a window. What HPA has beside
them, limits on how many come or go at once, is left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, inf, isfinite
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmsim.cluster.fleet import FREE_BLOCKS, NO_INSTANCE, OUTSTANDING, WAITING, Fleet, Floats, Ints, read_only
from llmsim.engine.clock import SCALING, Clock
from llmsim.errors import InputError
from llmsim.record import INSTANCE_STATE_COLUMNS, InstanceState, no_rows
from llmsim.request import Request, RequestView

OFF, STARTING, READY, DRAINING = InstanceState
#: per ready instance: requests sent to it and not ended, requests in its queue, or the share of its KV blocks in use
Metric = Literal["outstanding", "waiting", "kv_utilisation"]


@dataclass(frozen=True)
class Autoscaling:
    """When instances come and go."""

    target: float  #: of the metric, per instance
    max_instances: int  #: those that drain included
    metric: Metric = "outstanding"
    min_instances: int = 1
    first_instances: int = 1  #: ready when the run begins
    interval_s: float = 15.0  #: from one look at the load to the next
    cold_start_s: float = 0.0  #: from the decision to an instance's being ready
    tolerance: float = 0.1
    scale_up_stabilization_window_s: float = 0.0
    scale_down_stabilization_window_s: float = 300.0

    def __post_init__(self) -> None:
        if not (isfinite(self.target) and self.target > 0 and isfinite(self.interval_s) and self.interval_s > 0):
            raise InputError(f"target = {self.target}, interval_s = {self.interval_s}: expected more than 0")
        if not 1 <= self.min_instances <= self.first_instances <= self.max_instances:
            raise InputError(
                f"min_instances = {self.min_instances}, first_instances = {self.first_instances}, "
                f"max_instances = {self.max_instances}: expected numbers from 1 that do not fall"
            )

    def recommended(self, current: int, total: float) -> int:
        """How many instances a load asks for: `total` is the metric, summed over the ready ones of `current`.

        As for HPA's external metrics with an AverageValue: instances that start count among those that share the total.
        """
        if abs(total / (self.target * current) - 1.0) <= self.tolerance:
            return current
        return min(max(ceil(total / self.target), self.min_instances), self.max_instances)

    def stabilised(self, current: int, recommended: int, past: Iterable[tuple[float, int]], now_s: float) -> int:
        """Stay as near to `current` as what is recommended now, and was within the windows, allows.

        `past` holds when it was, and how many; what is exactly a window old is too old.
        """
        up_s, down_s = self.scale_up_stabilization_window_s, self.scale_down_stabilization_window_s
        least = most = recommended
        for at_s, count in past:
            if at_s > now_s - up_s:
                least = min(least, count)
            if at_s > now_s - down_s:
                most = max(most, count)
        return min(max(current, least), most)


class ReadyInstances:
    """What a router sees of a fleet (router.FleetView) some of whose instances are ready."""

    def __init__(self, fleet: Fleet, numbers: Ints) -> None:
        self._fleet = fleet
        self.numbers = numbers  #: in the fleet, ascending

    @property
    def now_s(self) -> float:
        return self._fleet.now_s

    @property
    def size(self) -> int:
        return len(self.numbers)

    @property
    def routed(self) -> int:
        return self._fleet.routed

    @property
    def outstanding(self) -> Ints:
        return read_only(self._fleet.outstanding[self.numbers])

    @property
    def waiting(self) -> Ints:
        return read_only(self._fleet.waiting[self.numbers])

    @property
    def waiting_tokens(self) -> Ints:
        return read_only(self._fleet.waiting_tokens[self.numbers])

    @property
    def running(self) -> Ints:
        return read_only(self._fleet.running[self.numbers])

    @property
    def free_blocks(self) -> Ints:
        return read_only(self._fleet.free_blocks[self.numbers])

    @property
    def pools(self) -> Mapping[str, Ints]:
        of_all = self._fleet.pools.items()
        return {name: read_only(np.flatnonzero(np.isin(self.numbers, own))) for name, own in of_all}

    @property
    def prefill_tokens_per_s(self) -> Floats:
        return read_only(self._fleet.prefill_tokens_per_s[self.numbers])

    @property
    def decode_tokens_per_s(self) -> Floats:
        return read_only(self._fleet.decode_tokens_per_s[self.numbers])

    def number(self, chosen: int) -> int:
        """The number in the fleet of an instance that a router has chosen."""
        return int(self.numbers[chosen])

    def cached_tokens(self, number: int, request: RequestView) -> int:
        return self._fleet.cached_tokens(int(self.numbers[number]), request)

    def accepts(self, number: int, request: RequestView) -> bool:
        return self._fleet.accepts(int(self.numbers[number]), request)

    def cached(self, request: RequestView) -> Ints:
        return read_only(self._fleet.cached(request)[self.numbers])

    @property
    def rng(self) -> np.random.Generator:
        return self._fleet.rng


class Autoscaler:
    """Switches the instances of a fleet on and off.

    The lowest number that is off starts first; those that start go before those that are ready, of either the highest
    number first, as in a StatefulSet. An instance that was ready drains: it gets no more requests, is off when those
    that it has have ended, and does not come back before.
    """

    def __init__(self, clock: Clock, fleet: Fleet, rules: Autoscaling) -> None:
        if fleet.size != rules.max_instances:
            raise InputError(f"max_instances = {rules.max_instances}, but there are {fleet.size} instances")
        self._clock = clock
        self._fleet = fleet
        self._rules = rules
        self._states = [READY if n < rules.first_instances else OFF for n in range(fleet.size)]
        self._since_s = [0.0] * fleet.size
        self._past: list[tuple[int, int, float, float]] = []  # states that are over: rows of INSTANCE_STATE_COLUMNS
        self._recommended = deque([(0.0, rules.first_instances)])  # when, and how many
        self._looks = 0
        self.ready = ReadyInstances(fleet, np.arange(rules.first_instances))
        self._look_later()

    def _look_later(self) -> None:
        self._looks += 1
        look = self._clock.at(self._looks * self._rules.interval_s, SCALING)
        look.callbacks.append(lambda _: self._look())

    def _look(self) -> None:
        """Decide how many instances there shall be, and switch."""
        starting, ready = self._numbers(STARTING), self._numbers(READY)
        current = len(starting) + len(ready)
        change = self._desired(current, self._total(ready)) - current
        if change > 0:
            for number in self._numbers(OFF)[:change]:
                self._start(number)
        elif change < 0:
            for number in (ready + starting)[change:]:
                self._remove(number)
        if self._clock.peek() < inf:  # or else nothing will ever happen again
            self._look_later()

    def _total(self, ready: list[int]) -> float:
        """The metric, summed over the ready instances, as it stood before this time."""
        metric = self._rules.metric
        loads = [self._fleet.load(number) for number in ready]
        if metric == "kv_utilisation":
            blocks = (self._fleet.instances[number].total_blocks for number in ready)
            return sum(1 - load[FREE_BLOCKS] / total for load, total in zip(loads, blocks, strict=True))
        return sum(load[OUTSTANDING if metric == "outstanding" else WAITING] for load in loads)

    def _desired(self, current: int, total: float) -> int:
        now_s, rules, past = self._clock.now_s, self._rules, self._recommended
        window_s = max(rules.scale_up_stabilization_window_s, rules.scale_down_stabilization_window_s)
        while past and past[0][0] <= now_s - window_s:
            past.popleft()
        recommended = rules.recommended(current, total)
        desired = rules.stabilised(current, recommended, past, now_s)
        past.append((now_s, recommended))
        return desired

    def _start(self, number: int) -> None:
        self._turn(number, STARTING)
        started_s = self._clock.now_s

        def is_ready(_: object = None) -> None:
            if self._states[number] is STARTING and self._since_s[number] == started_s:  # not removed since
                self._turn(number, READY)

        if self._rules.cold_start_s == 0:
            is_ready()
        else:
            self._clock.at(started_s + self._rules.cold_start_s, SCALING).callbacks.append(is_ready)

    def _remove(self, number: int) -> None:
        idle = self._fleet.load(number)[OUTSTANDING] == 0
        self._turn(number, OFF if idle else DRAINING)

    def ended(self, number: int, request: Request) -> None:
        """Note that a request has ended, on an instance or before."""
        if number != NO_INSTANCE and self._states[number] is DRAINING and self._fleet.load(number)[OUTSTANDING] == 0:
            self._turn(number, OFF)

    def _turn(self, number: int, state: InstanceState) -> None:
        was_ready = self._states[number] is READY
        self._note(number, self._clock.now_s)
        self._states[number], self._since_s[number] = state, self._clock.now_s
        if was_ready or state is READY:
            self.ready.numbers = np.array(self._numbers(READY))

    def _note(self, number: int, end_s: float) -> None:
        if self._states[number] is not OFF:
            self._past.append((number, self._states[number], self._since_s[number], end_s))

    def _numbers(self, state: InstanceState) -> list[int]:
        return [number for number, own in enumerate(self._states) if own is state]

    def finish(self, end_s: float) -> dict[str, NDArray[Any]]:
        """Return `INSTANCE_STATE_COLUMNS` up to the end of the run, by instance and time. To be called once."""
        for number in range(self._fleet.size):
            self._note(number, end_s)
        rows = sorted((n, start_s, min(stop_s, end_s), state) for n, state, start_s, stop_s in self._past)
        lasting = [(n, state, start_s, stop_s) for n, start_s, stop_s, state in rows if stop_s > start_s]
        if not lasting:  # a run that ends when it begins
            return no_rows(INSTANCE_STATE_COLUMNS)
        columns = zip(*lasting, strict=True)
        return {
            name: np.array(column, dtype=kind)
            for (name, kind), column in zip(INSTANCE_STATE_COLUMNS.items(), columns, strict=True)
        }
