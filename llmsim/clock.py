"""SimPy's environment with events at absolute times and a fixed order among events of the same time."""

from __future__ import annotations

from heapq import heappush

import simpy

#: arrivals come before step ends of the same time: a step sees the requests that arrived at or before its start
ARRIVAL = 0
#: step ends of the same time go by instance number, so that the order does not depend on who scheduled first
FIRST_INSTANCE = 2


class Clock(simpy.Environment):
    """A SimPy environment that can schedule at an absolute time, exactly.

    SimPy schedules by delay, and ``now + (t - now)`` is not always t in floating point: a run in stretches
    and the same run step by step would drift apart in the last bit.
    """

    def at(self, time_s: float, rank: int) -> simpy.Event:
        """Return an event that succeeds at `time_s`; among events of the same time the lower rank goes first."""
        event = simpy.Event(self)
        event._ok = True
        event._value = None
        heappush(self._queue, (time_s, rank, next(self._eid), event))  # type: ignore[arg-type]
        return event
