"""The journal of one instance: what it has done, and when that goes into the record and to the cluster.

Steps, token times and ends are collected in lists, and written in one go when enough has come together: of much at
once, that is faster than one by one. An eager instance tells the cluster at once that a request has ended, since that
may act on it; one in lazy mode (instance.py) when it has caught up.
"""

from __future__ import annotations

from collections.abc import Callable

from llmsim.engine.recorder import Recorder
from llmsim.engine.stretch import Stretch
from llmsim.request import Request

#: token times of a request: its id, when the token left that its prefill yielded (NaN: none), and the number of the
#: first of its decode steps, and how many there are; where requests speculate also the tokens that these have yielded,
#: and gain and phase of their pace
TokenTimes = tuple[int, float, int, int] | tuple[int, float, int, int, int, int, int]
BUFFERED_STRETCHES = 1024  #: lazy mode: about so many stretches are kept before they are written
EAGERLY_BUFFERED = 32  #: and otherwise: there may be a thousand instances


def one_token_less(times: TokenTimes) -> TokenTimes:
    """Return token times without the last step, which has yielded one token."""
    if len(times) == 4:
        id, head_s, first_step, steps = times
        return id, head_s, first_step, steps - 1
    id, head_s, first_step, steps, tokens, gain, phase = times
    return id, head_s, first_step, steps - 1, tokens - 1, gain, phase


class Journal:
    """Collects what one instance does, and passes it on."""

    __slots__ = (
        "_ends",
        "_most",
        "_number",
        "_on_end",
        "_recorder",
        "decisions_in_vain",
        "eager",
        "segments",
        "stretches",
    )

    def __init__(self, number: int, recorder: Recorder, on_end: Callable[[int, Request], None]) -> None:
        self.eager = True  # see `begin`
        self._most = 0  # stretches that are kept
        self.stretches: list[Stretch] = []  #: of steps that have ended
        self.segments: list[TokenTimes] = []
        self._number = number  # of the instance
        self._recorder = recorder
        self._on_end = on_end
        self._ends: list[tuple[Request, float, str]] = []  # when and why
        self.decisions_in_vain = 0  #: (loop.py) since a token, an end or prefill that was never computed before

    def begin(self, *, eager: bool) -> None:
        """Pass ends on at once, or (not `eager`) when the instance has caught up."""
        self.eager = eager
        self._most = EAGERLY_BUFFERED if eager else BUFFERED_STRETCHES

    def end(self, request: Request, end_s: float, reason: str) -> None:
        """Note that a request has ended: `request.ended_as` says how."""
        self.decisions_in_vain = 0
        self._ends.append((request, end_s, reason))
        if reason or len(self.stretches) > self._most:  # reasons are numbered as they come up
            self.write()
        if self.eager:
            self._on_end(self._number, request)

    def write(self) -> None:
        """Write to the record what has happened since the last time; tell the cluster of ends that it does not know."""
        number, recorder, ends = self._number, self._recorder, self._ends
        recorder.stretches(number, self.stretches)
        recorder.segments(number, self.segments)
        self.stretches, self.segments, self._ends = [], [], []
        for request, end_s, reason in ends:
            recorder.ended(request, number, end_s, reason)
        for request, _, _ in ends if not self.eager else ():
            self._on_end(number, request)

    @property
    def unwritten(self) -> int:
        """Stretches and ends that have not been written yet."""
        return len(self.stretches) + len(self._ends)
