"""What a router knows of the cluster: the present state of every instance, or reports of it that grow old."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import inf
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from llmsim.cluster.caches import Caches
from llmsim.engine.clock import Clock
from llmsim.engine.instance import Instance
from llmsim.errors import InputError, PolicyError
from llmsim.request import RequestView
from llmsim.router import BENCHMARK

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
T = TypeVar("T", bound=np.generic)
#: rows of a report
OUTSTANDING, WAITING, WAITING_TOKENS, RUNNING, FREE_BLOCKS = range(5)
ROWS = 5
NO_INSTANCE = -1  #: in place of its number: a request was on none


@dataclass(frozen=True)
class Reports:
    """How routers learn of instances: all report together, every `age_s` seconds from 0 on (0: at every request).

    That is the periodic update of Mitzenmacher (How useful is old information?, IEEE TPDS 11(1), 2000), and a gateway
    that scrapes all engines on one timer. A report holds what happened before its time, and nothing of that time. With
    `count_own_sends` the router adds what it has sent since; without, it is one of many that do not see each other.
    """

    age_s: float = 0.0
    count_own_sends: bool = True

    def __post_init__(self) -> None:
        if not (np.isfinite(self.age_s) and self.age_s >= 0):
            raise InputError(f"report_age_s = {self.age_s}, expected seconds, not negative")

    def latest_s(self, now_s: float) -> float:
        """When the latest report came that there is at a time."""
        return self._number(now_s) * self.age_s

    def next_s(self, now_s: float) -> float:
        """When the next one comes."""
        return (self._number(now_s) + 1) * self.age_s

    def _number(self, now_s: float) -> int:
        number = int(now_s / self.age_s)
        while number * self.age_s > now_s:  # the division has rounded up
            number -= 1
        while (number + 1) * self.age_s <= now_s:
            number += 1
        return number


ORACLE = Reports()


class Fleet:
    """What a router sees of the cluster (router.FleetView).

    Reports are taken lazily: an instance that is about to change for the first time since a report was due writes down
    what stood then, and one that has not changed is asked when the router needs the report. So reports make no events,
    and cost O(1) each.
    """

    def __init__(
        self,
        clock: Clock,
        instances: Sequence[Instance],
        rng: np.random.Generator,
        *,
        pools: Sequence[str] | None = None,
        reports: Reports = ORACLE,
    ) -> None:
        self._clock = clock
        self.instances = instances  #: by their number in this fleet
        self._place = {instance.number: n for n, instance in enumerate(instances)}
        self._reports = reports
        self._pool_of = ["all"] * len(instances) if pools is None else pools
        self.size = size = len(instances)
        self.routed = 0
        self.rng = rng
        present = np.zeros(size, dtype=np.int64)  # requests sent to each instance and not ended
        self._present = present.data  # one number of it is reached faster this way
        self._written = np.zeros((ROWS, size), dtype=np.int64)  # the latest report of each instance
        self._known = np.zeros((ROWS, size), dtype=np.int64)  # what the router knows by now
        self._rows = [read_only(row) for row in self._known]
        self._changed = set(range(size))  # instances that may no longer be as they were last counted
        self._note_change = [partial(self._has_changed, number) for number in range(size)]
        self.due_s = inf  #: when reports come that the router has not seen
        self.eager = True  #: False: instances are in lazy mode; a router that reads any of this raises `PolicyError`
        self._outstanding = read_only(present)
        self._reporting = reports.age_s > 0
        if self._reporting:
            self.due_s = 0.0
            self._outstanding = self._rows[OUTSTANDING]
            for instance in instances:
                self._write_when_due(instance, 0.0)

    # What a router reads -----------------------------------------------------------------------------------

    @property
    def now_s(self) -> float:
        return self._clock.now_s

    @property
    def outstanding(self) -> Ints:
        self._look()
        return self._outstanding

    @property
    def waiting(self) -> Ints:
        return self._reported(WAITING)

    @property
    def waiting_tokens(self) -> Ints:
        return self._reported(WAITING_TOKENS)

    @property
    def running(self) -> Ints:
        return self._reported(RUNNING)

    @property
    def free_blocks(self) -> Ints:
        return self._reported(FREE_BLOCKS)

    @cached_property
    def pools(self) -> Mapping[str, Ints]:
        names = dict.fromkeys(self._pool_of)
        return {name: read_only(np.flatnonzero([own == name for own in self._pool_of])) for name in names}

    @cached_property
    def prefill_tokens_per_s(self) -> Floats:
        prompt = BENCHMARK.prompt_tokens
        times_s = [each.latency.step_time_s([(0, prompt)], 0, 0) for each in self.instances]
        return read_only(prompt / np.array(times_s))

    @cached_property
    def decode_tokens_per_s(self) -> Floats:
        batch, context = BENCHMARK.sequences, BENCHMARK.sequences * BENCHMARK.context_tokens
        times_s = [each.latency.step_time_s([], batch, context) for each in self.instances]
        return read_only(batch / np.array(times_s))

    def cached_tokens(self, number: int, request: RequestView) -> int:
        self._look()
        return self.instances[number].cached_tokens(request)

    def accepts(self, number: int, request: RequestView) -> bool:
        self._look()
        return self.instances[number].accepts(request)

    def cached(self, request: RequestView) -> Ints:
        self._look()
        return self._caches.cached(request)

    @cached_property
    def _caches(self) -> Caches:
        return Caches(self.instances)

    def _look(self) -> None:
        if not self.eager:
            raise PolicyError("a router whose `reads` is empty reads the state of instances: say so in `reads`")

    def _reported(self, row: int) -> Ints:
        self._look()
        if not self._reporting:
            self._count_anew(row)
        return self._rows[row]

    def _count_anew(self, row: int) -> None:
        """Bring a row up to date: all of free blocks, which fall with every step; of the others what has changed."""
        cells = self._known.data
        if row == FREE_BLOCKS:
            for number, instance in enumerate(self.instances):
                cells[row, number] = instance.free_blocks()
            return
        still = set()
        for number in self._changed:
            instance = self.instances[number]
            cells[WAITING, number] = instance.num_waiting
            cells[WAITING_TOKENS, number] = instance.states.waiting_tokens
            cells[RUNNING, number] = len(instance.states.running)
            if instance.loop.acting:
                still.add(number)
            else:
                instance.report_when_due(-inf, self._note_change[number])
        self._changed = still

    def _has_changed(self, number: int) -> None:
        """Note that an instance is about to change, or has: it is counted anew when a router asks."""
        self._changed.add(number)
        self.instances[number].report_when_due(inf, self._note_change[number])

    # Called by the cluster ---------------------------------------------------------------------------------

    @property
    def in_system(self) -> int:
        """Requests that were sent and have not ended, at present: no router sees that."""
        return sum(self._present)

    def refresh(self) -> None:
        """Let the router have the reports that have come by now."""
        for number in range(self.size):
            self._before_change(number)
        self._known[:] = self._written
        self.due_s = self._reports.next_s(self._clock.now_s)

    def sent(self, number: int, waiting_tokens: int) -> None:
        """Note that a request was sent to an instance, with so many tokens for its queue."""
        self.routed += 1
        if not self.eager:  # no router looks at anything else
            return
        self._before_change(number)  # also where a request comes back that no other could take: no router was asked
        self._present[number] += 1
        if self._reporting and self._reports.count_own_sends:
            self._known[:WAITING_TOKENS, number] += 1
            self._known[WAITING_TOKENS, number] += waiting_tokens

    def load(self, number: int) -> tuple[int, ...]:
        """What stands on an instance at present, whatever the age of reports: a column of one."""
        return self._state(number)

    def ended(self, number: int) -> None:
        """Note that a request of an instance has left it, in a step boundary of its own or at its arrival there."""
        if self.eager:
            self._present[number] -= 1

    # Reports -----------------------------------------------------------------------------------------------

    def _before_change(self, number: int) -> None:
        self.instances[number].report_if_due(self._clock.now_s)

    def _write(self, instance: Instance) -> None:
        """Write down the latest report of an instance, which has not changed since."""
        number, now_s = self._place[instance.number], self._clock.now_s
        self._written[:, number] = self._state(number, self._reports.latest_s(now_s))
        self._write_when_due(instance, self._reports.next_s(now_s))

    def _write_when_due(self, instance: Instance, due_s: float) -> None:
        instance.report_when_due(due_s, lambda: self._write(instance))

    def _state(self, number: int, before_s: float | None = None) -> tuple[int, ...]:
        """An instance now, or before anything of a time since which it has only gone on decoding: a column."""
        instance = self.instances[number]
        states = instance.states
        return (
            self._present[number],
            instance.num_waiting,
            states.waiting_tokens,
            len(states.running),
            instance.free_blocks(before_s),
        )


def read_only(array: NDArray[T]) -> NDArray[T]:
    """Return a view of an array that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view
