"""The gateway between clients and engines: a queue in front of a limit on the way in, a busy sender on the way out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from llmsim.cluster.fleet import NO_INSTANCE
from llmsim.engine.clock import ARRIVAL, Clock
from llmsim.engine.stretch import Stretch
from llmsim.record import Floats, Ints, Record, Timelines
from llmsim.request import Outcome, Request

MARGIN = 0.99  #: of a step: what a sender may take for its tokens so that it surely keeps up, rounding included


class WayOut:
    """The way from instances back to clients: everything that an engine emits takes `response_s`."""

    def __init__(self, clock: Clock, response_s: float) -> None:
        self._clock = clock
        self._response_s = response_s

    def received_s(self, number: int, request: Request) -> float:
        """When the client of a request that ends now on an instance has its last token, or the news."""
        return self._clock.now_s + self._response_s


class SenderQueue(WayOut):
    """A way out with a sender for each instance that takes `token_s` for each token, in order.

    The tokens of a step leave together, after all of them have been handled; a busy sender makes those of the next step
    wait (Lindley's recursion). The engine never waits for it.
    """

    def __init__(self, clock: Clock, response_s: float, token_s: float, instances: int) -> None:
        super().__init__(clock, response_s)
        self._token_s = token_s
        self._sent_s = [0.0] * instances  # when the latest token that each has emitted will have been sent

    def emitted(self, instance: int, stretch: Stretch, tokens: int) -> None:
        """Note the tokens of steps; the last one has so many, each of the others one of every decoding request."""
        free_s, token_s = self._sent_s[instance], self._token_s
        if stretch.steps > 1 and stretch.decoding and not self._keeps_up(stretch, free_s):
            cost_s = token_s * stretch.decoding
            for step in range(1, stretch.steps):
                free_s = max(free_s, stretch.step_end_s(step)) + cost_s
        if tokens:
            free_s = max(free_s, stretch.end_s) + token_s * tokens
        self._sent_s[instance] = free_s

    def _keeps_up(self, stretch: Stretch, free_s: float) -> bool:
        """Whether a sender is idle at the end of each of these steps: none is shorter than the second one."""
        first_end_s = stretch.step_end_s(1)
        if stretch.growth_s < 0 or free_s > first_end_s:
            return False
        return self._token_s * stretch.decoding < MARGIN * (stretch.step_end_s(2) - first_end_s)

    def received_s(self, number: int, request: Request) -> float:
        """When the client of a request that ends now on an instance has its last token, or the news."""
        if request.ended_as == Outcome.FINISHED:
            return self._sent_s[number] + self._response_s
        return super().received_s(number, request)


class NoLimit:
    """An entrance that lets every request through at once."""

    max_queue: int | None = None
    waiting: Mapping[int, Request] = MappingProxyType({})

    def __init__(self, admit: Callable[[Request], None]) -> None:
        self._admit = admit

    def enter(self, request: Request) -> bool:
        """Admit a request."""
        self._admit(request)
        return True

    def drop(self, id: int) -> Request | None:
        """Return None: there is no queue."""
        return None

    def close(self) -> list[Request]:
        """Return the requests in the queue: none."""
        return []

    def columns(self) -> dict[str, Floats]:
        """Return columns of the record: none."""
        return {}


class Entrance:
    """Lets at most `max_concurrency` requests through at once; the others queue, at most `max_queue` of them.

    First come, first served. A request holds its place from its admission until its client has the last token, or until
    the engine has dropped it.
    """

    def __init__(
        self,
        clock: Clock,
        max_concurrency: int,
        max_queue: int | None,
        *,
        admit: Callable[[Request], None],
        way_out: WayOut,
        requests: int,
    ) -> None:
        self.max_queue = max_queue
        self.waiting: OrderedDict[int, Request] = OrderedDict()
        self._clock = clock
        self._most = max_concurrency
        self._admit = admit
        self._way_out = way_out
        self._admitting = False
        self._inside = 0
        self._admitted_s: Floats = np.full(requests, np.nan)  # NaN: not yet

    def enter(self, request: Request) -> bool:
        """Admit a request or let it wait; return whether there was room for that."""
        full = self._inside >= self._most or self.waiting
        if full and self.max_queue is not None and len(self.waiting) >= self.max_queue:
            return False
        self.waiting[request.id] = request
        self._admit_waiting()
        return True

    def ended(self, number: int, request: Request) -> None:
        """Give the place of a request that has ended on an instance to another one, now or later."""
        if number == NO_INSTANCE:
            return
        at_s = self._way_out.received_s(number, request)
        if at_s <= self._clock.now_s:
            self._leave()
        else:
            left = self._clock.at(at_s, ARRIVAL)
            left.callbacks.append(lambda _: self._leave())

    def _leave(self) -> None:
        self._inside -= 1
        self._admit_waiting()

    def drop(self, id: int) -> Request | None:
        """Take a request out of the queue, if it is still there."""
        return self.waiting.pop(id, None)

    def _admit_waiting(self) -> None:
        """Admit while there is room. An engine that refuses a request at once comes back here: the loop goes on."""
        if self._admitting:
            return
        self._admitting = True
        while self.waiting and self._inside < self._most:
            _, request = self.waiting.popitem(last=False)
            self._inside += 1
            self._admitted_s[request.id] = self._clock.now_s
            self._admit(request)
        self._admitting = False

    def close(self) -> list[Request]:
        """Admit no more; return the requests in the queue."""
        self._admitting = True
        return list(self.waiting.values())

    def columns(self) -> dict[str, Floats]:
        """Return when each request passed the limit, a column of the record; NaN: never."""
        return {"admitted_s": self._admitted_s}


def all_sent_s(ends_s: Floats, tokens: Ints, token_s: float) -> Floats:
    """When the tokens of each step, its end and its tokens (steps,), have been sent by a sender that is free at 0.

    Steps at whose ends it is idle are worked out together, those at which it is busy one after another.
    """
    emits = tokens > 0
    ends_s, costs_s = ends_s[emits], token_s * tokens[emits]
    sent_s = ends_s + costs_s
    done = 0
    for step in (np.flatnonzero(sent_s[:-1] > ends_s[1:]) + 1).tolist():
        if step >= done:
            done = step
            free_s = float(sent_s[step - 1])
            while done < len(sent_s) and free_s > ends_s[done]:
                free_s = sent_s[done] = free_s + float(costs_s[done])
                done += 1
    return np.concatenate([[0.0], sent_s])[np.cumsum(emits)]


def after_sender(record: Record, token_s: float) -> Timelines:
    """Token times as the instances' senders let them go, at `token_s` a token; see `SenderQueue`."""
    timelines = record.timelines()
    if token_s == 0:
        return timelines
    instance = record.segments["instance"][np.argsort(record.segments["request"], kind="stable")]
    head_s, sent_s = timelines.head_s.copy(), [np.empty(0)]
    for number in range(len(record.step_ends_s)):
        own = (instance == number) & ~np.isnan(head_s)
        head_s[own], decoded_s = _sent(record, number, timelines.head_s[own], token_s)
        sent_s.append(decoded_s)
    times_s = np.concatenate(sent_s)
    last_s = np.full(len(timelines), -np.inf)
    through = np.where(timelines.count > 0, np.append(times_s, 0.0)[timelines.start + timelines.steps - 1], head_s)
    np.maximum.at(last_s, timelines.request, through)
    return replace(timelines, head_s=head_s, times_s=times_s, end_s=np.maximum(timelines.end_s, last_s))


def _sent(record: Record, instance: int, head_s: Floats, token_s: float) -> tuple[Floats, Floats]:
    """When one instance's sender lets heads go, and the tokens of each decode step."""
    rows = record.steps["instance"] == instance
    steps = record.steps["steps"][rows]
    decodes, ends_s = (np.repeat(record.steps[name][rows], steps) for name in ("decoding", "end_s"))
    decodes = decodes > 0
    ends_s[decodes] = record.step_ends_s[instance]
    tokens = np.zeros(len(ends_s), dtype=np.int64)
    tokens[decodes] = _decoded(record, instance)
    at = np.searchsorted(ends_s, head_s)
    tokens += np.bincount(at, minlength=len(ends_s))
    sent_s = all_sent_s(ends_s, tokens, token_s)
    return sent_s[at], sent_s[decodes]


def _decoded(record: Record, instance: int) -> Ints:
    """Tokens that each decode step of an instance emits: fewer than it computes, where some are in vain."""
    own = record.segments["instance"] == instance
    first, steps = record.segments["first_step"][own], record.segments["steps"][own]
    size = len(record.step_ends_s[instance]) + 1
    change: Ints = np.bincount(first, minlength=size) - np.bincount(first + steps, minlength=size)
    tokens: Ints = np.cumsum(change)[:-1]
    return tokens
