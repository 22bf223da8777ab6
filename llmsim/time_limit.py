"""A limit to how long a scheduler may think, by the clock on the wall: an endless loop becomes one line.

Results do not depend on it: a scheduler either decides in time, or the run ends with an error.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llmsim import guests
from llmsim.errors import InputError, PolicyError
from llmsim.scheduler import Around, Decision, InstanceView, Scheduler

AGAIN_S = 0.1  #: a policy that catches the alarm hears it again after so long


class Late(BaseException):
    """A decision takes too long; no `Exception`, or a policy that catches all of them would go on."""


def can_be_limited() -> bool:
    """Whether this system has alarms, and this thread hears them."""
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()


class TimeLimited(Around):
    """A scheduler that must decide within so many seconds."""

    def __init__(self, scheduler: Scheduler, limit_s: float) -> None:
        super().__init__(scheduler)
        self._limit_s = limit_s

    @classmethod
    def around(cls, scheduler: Scheduler, limit_s: float) -> TimeLimited:
        """Limit a scheduler, under its own name; InputError where there are no alarms."""
        if not can_be_limited():
            raise InputError("a limit to the time of decisions needs alarms (POSIX), in the main thread")
        named: type[TimeLimited] = type(type(scheduler).__name__, (cls,), {})
        return named(scheduler, limit_s)

    def schedule(self, view: InstanceView) -> Decision:
        """Let the other scheduler decide; `PolicyError` with time and line where that takes too long."""
        try:
            with _alarm(self._limit_s):
                return self.scheduler.schedule(view)
        except Late as error:
            place = guests.in_a_line(error).removeprefix("Late").strip()
            raise PolicyError(
                f"{type(self).__name__} at t={view.now_s:.6f} s: no decision within {self._limit_s:g} s {place}"
            ) from None


@contextmanager
def _alarm(after_s: float) -> Iterator[None]:
    """Raise `Late` within the block when the time is over."""
    before = signal.signal(signal.SIGALRM, _raise_late)
    signal.setitimer(signal.ITIMER_REAL, after_s, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _raise_late(_number: int, _frame: Any) -> None:
    raise Late
