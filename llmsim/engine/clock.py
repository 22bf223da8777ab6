"""SimPy's environment, with events at absolute times, in a fixed order at equal times, and alarms of instances."""

from __future__ import annotations

import sys
from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Any

import simpy

#: a cluster that grows or shrinks does so before anything else of that time
SCALING = -1
#: arrivals come before step ends of the same time: a step sees the requests that arrived at or before its start
ARRIVAL = 0
#: users leave last: a token that comes at the very end of their patience still reaches them
LEAVING = sys.maxsize
#: step ends of the same time go by instance number, so that the order does not depend on which was scheduled first
FIRST_INSTANCE = 2


class Moment(simpy.Event):
    """An event that is certain to happen, once it is in the clock's queue."""

    def __init__(self, clock: Clock) -> None:
        self.env = clock
        self.callbacks = []
        self._ok = True
        self._value = None


class Clock(simpy.Environment):
    """A SimPy environment that schedules at absolute times, exactly.

    SimPy schedules by delay, and ``now + (t - now)`` is not always t in floating point: a run in stretches and the same
    run step by step would drift apart in the last bit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        #: tie-break rank of the last event processed at `now_s`. Instances of at most this rank have already handled a
        #: step boundary that falls on `now_s`, whether or not there was an event for it.
        self.rank = ARRIVAL

    def at(self, time_s: float, rank: int) -> simpy.Event:
        """Return an event that happens at `time_s`; among events of the same time the lower rank goes first."""
        event = Moment(self)
        self.put(time_s, rank, event)
        return event

    def put(self, time_s: float, rank: int, event: simpy.Event | Alarm) -> None:
        """Let an event, or an alarm, happen at a time."""
        queue: list[Any] = self._queue
        heappush(queue, (time_s, rank, next(self._eid), event))

    def passes_to(self, time_s: float, rank: int) -> bool:
        """Let time pass to a later moment at once if no event comes before it; return whether it did.

        For a process on its own behalf: it goes on as if it had yielded an event of that moment.
        """
        following = self._queue[0]
        if following[0] < time_s or (following[0] == time_s and following[1] <= rank):
            return False
        self.now_s = self._now = time_s
        self.rank = rank
        return True

    def run_until(self, until_s: float = inf) -> None:
        """Process events, all there are or those before the arrivals of a time. Raises what a process died of."""
        queue: list[Any] = self._queue
        heappush(queue, (until_s, ARRIVAL, -1, None))
        while (entry := heappop(queue))[3] is not None:
            time_s, rank, _, event = entry
            alarm = event.__class__ is Alarm
            if alarm and event.due_s != time_s:
                continue  # what is left of one that was brought forward, and has rung
            if time_s > self.now_s or rank > self.rank:
                self.rank = rank
            self.now_s = self._now = time_s
            if alarm:
                event.ring()
                continue
            callbacks, event.callbacks = event.callbacks, None
            for callback in callbacks:
                callback(event)
            if not event._ok:  # a process died of an exception
                raise event._value
        if until_s < inf:
            self.now_s = self._now = until_s


class Alarm:
    """Rings when one instance acts next. It can be brought forward."""

    __slots__ = ("_rank", "call", "clock", "due_s")

    def __init__(self, clock: Clock, instance: int) -> None:
        self.clock = clock
        self.due_s = inf  #: when it rings
        self._rank = FIRST_INSTANCE + instance
        self.call: Callable[[], None] | None = None  #: what to call then; None: it never rings (instance.py, lazy mode)

    def set(self, due_s: float) -> None:
        """Ring at a time, and at no other."""
        self.due_s = due_s
        if due_s < inf:
            self.clock.put(due_s, self._rank, self)

    def ring(self) -> None:
        """Call, now that it is due."""
        assert self.call is not None
        self.due_s = inf
        self.call()

    @property
    def yet_to_come(self) -> bool:
        """Whether the instance has not had its turn at the present time."""
        return self.clock.rank < self._rank

    @property
    def passed(self) -> bool:
        """Whether all of the instance's turns at the present time are over."""
        return self.clock.rank > self._rank
