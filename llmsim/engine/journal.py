"""The journal of one instance: what it has done, and when that goes into the record and to the cluster.

Steps, token times and ends are collected in lists, and written in one go: of much at once, that is faster than one by
one. An eager instance writes whenever a request has ended, since the cluster may act on it. One in lazy mode
(instance.py) writes when it has caught up, and in between when too much has come together.
"""

from __future__ import annotations

from collections.abc import Callable

from llmsim.engine.recorder import Recorder
from llmsim.engine.stretch import Stretch
from llmsim.request import Request

#: steps that have ended, and what the instance held meanwhile: KV blocks used, requests waiting and running
Steps = tuple[Stretch, int, int, int]
#: token times of a request: its id, when the token left that its prefill yielded (NaN: none), and the number of the
#: first of its decode steps, and how many there are; where requests speculate also the tokens that these have yielded,
#: and gain and phase of their pace
TokenTimes = tuple[int, float, int, int] | tuple[int, float, int, int, int, int, int]
BUFFERED_STRETCHES = 1024  #: lazy mode: about so many stretches are kept before they are written


def one_token_less(times: TokenTimes) -> TokenTimes:
    """Return token times without the last step, which has yielded one token."""
    if len(times) == 4:
        id, head_s, first_step, steps = times
        return id, head_s, first_step, steps - 1
    id, head_s, first_step, steps, tokens, gain, phase = times
    return id, head_s, first_step, steps - 1, tokens - 1, gain, phase


class Journal:
    """Collects what one instance does, and passes it on."""

    __slots__ = ("_ends", "_number", "_on_end", "_recorder", "eager", "segments", "stretches")

    def __init__(self, number: int, recorder: Recorder, on_end: Callable[[int, Request], None]) -> None:
        self.eager = True  #: False: ends are passed on when the instance has caught up
        self.stretches: list[Steps] = []  #: of steps that have ended
        self.segments: list[TokenTimes] = []
        self._number = number  # of the instance
        self._recorder = recorder
        self._on_end = on_end
        self._ends: list[tuple[Request, float, str]] = []  # when and why

    def end(self, request: Request, end_s: float, reason: str) -> None:
        """Note that a request has ended: `request.ended_as` says how."""
        self._ends.append((request, end_s, reason))
        if self.eager or len(self.stretches) > BUFFERED_STRETCHES:
            self.write()

    def write(self) -> None:
        """Write to the record what has happened since the last time, and tell the cluster which requests have ended."""
        number, recorder, ends = self._number, self._recorder, self._ends
        recorder.stretches(number, self.stretches)
        recorder.segments(number, self.segments)
        self.stretches, self.segments, self._ends = [], [], []
        for request, end_s, reason in ends:
            recorder.ended(request, number, end_s, reason)
        for request, _, _ in ends:
            self._on_end(number, request)

    @property
    def unwritten(self) -> int:
        """Stretches and ends that have not been written yet."""
        return len(self.stretches) + len(self._ends)
