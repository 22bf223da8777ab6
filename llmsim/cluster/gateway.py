"""The gateway between clients and engines: a queue in front of a limit on the way in, a busy sender on the way out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from llmsim.engine.stretch import Stretch
from llmsim.record import Floats, Ints, Record, Timelines
from llmsim.request import Request


class Entrance:
    """Lets at most `max_concurrency` requests through at once; the others queue, at most `max_queue` of them.

    First come, first served. A request holds its place from its admission until its client has the last token, or until
    the engine has dropped it.
    """

    def __init__(self, max_concurrency: int, max_queue: int | None, admit: Callable[[Request], None]) -> None:
        self._most = max_concurrency
        self._max_queue = max_queue
        self._admit = admit
        self._admitting = False
        self.inside = 0
        self.waiting: OrderedDict[int, Request] = OrderedDict()

    def enter(self, request: Request) -> bool:
        """Admit a request or let it wait; return whether there was room for that."""
        full = self.inside >= self._most or self.waiting
        if full and self._max_queue is not None and len(self.waiting) >= self._max_queue:
            return False
        self.waiting[request.id] = request
        self._admit_waiting()
        return True

    def leave(self) -> None:
        """Take a place back."""
        self.inside -= 1
        self._admit_waiting()

    def drop(self, id: int) -> Request | None:
        """Take a request out of the queue, if it is still there."""
        return self.waiting.pop(id, None)

    def _admit_waiting(self) -> None:
        """Admit while there is room. An engine that refuses a request at once comes back here: the loop goes on."""
        if self._admitting:
            return
        self._admitting = True
        while self.waiting and self.inside < self._most:
            _, request = self.waiting.popitem(last=False)
            self.inside += 1
            self._admit(request)
        self._admitting = False

    def close(self) -> list[Request]:
        """Admit nobody any more; return those who wait."""
        self._admitting = True
        return list(self.waiting.values())


class Exit:
    """When the tokens of each step have been sent: one instance's sender takes `token_s` for each, in order.

    The tokens of a step leave together, after all of them have been handled; a busy sender makes those of the next step
    wait (Lindley's recursion). The engine never waits for it.
    """

    def __init__(self, token_s: float, instances: int) -> None:
        self._token_s = token_s
        self._sent_s = [0.0] * instances

    def emitted(self, instance: int, stretch: Stretch) -> None:
        """Note the tokens of steps."""
        heads = sum(tokens == request.tokens_to_prefill for request, tokens in stretch.prefill)
        tokens = stretch.decoding + heads
        ends = ((stretch.step_end_s(step), tokens) for step in range(1, stretch.steps + 1))
        *_, self._sent_s[instance] = sendings(ends, self._token_s, self._sent_s[instance])

    def sent_s(self, instance: int) -> float:
        """When the latest token that an instance has emitted will have been sent."""
        return self._sent_s[instance]


def sendings(steps: Iterable[tuple[float, int]], token_s: float, free_s: float) -> Iterator[float]:
    """When the tokens of each step, (its end, its tokens), have been sent by a sender that is free at `free_s`."""
    for end_s, tokens in steps:
        if tokens:
            free_s = max(free_s, end_s) + token_s * tokens
        yield free_s


def handed_out(record: Record, token_s: float) -> Timelines:
    """Token times as the instances' senders let them go, at `token_s` a token; see `Exit`."""
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
    through = np.where(timelines.count > 0, np.append(times_s, 0.0)[timelines.start + timelines.count - 1], head_s)
    np.maximum.at(last_s, timelines.request, through)
    return replace(timelines, head_s=head_s, times_s=times_s, end_s=np.maximum(timelines.end_s, last_s))


def _sent(record: Record, instance: int, head_s: Floats, token_s: float) -> tuple[Floats, Floats]:
    """When one instance's sender lets heads go, and the tokens of each decode step."""
    rows = record.steps["instance"] == instance
    taken = record.steps["steps"][rows]
    decoding, ends_s = (np.repeat(record.steps[name][rows], taken) for name in ("decoding", "end_s"))
    ends_s[decoding > 0] = record.step_ends_s[instance]
    at = np.searchsorted(ends_s, head_s)
    tokens: Ints = decoding + np.bincount(at, minlength=len(ends_s))
    sent_s = np.array([*sendings(zip(ends_s.tolist(), tokens.tolist(), strict=True), token_s, 0.0)])
    return sent_s[at], sent_s[decoding > 0]
