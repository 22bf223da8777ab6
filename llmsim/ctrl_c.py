"""Ctrl-C, heard wherever it comes: Python or a library may forget it, or call it something else.

A `KeyboardInterrupt` that comes while an object is cleared away is forgotten; while a class is made, Python 3.11 turns
it into a `RuntimeError`, and while a value is validated or written, a library may into an error of its own.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SOON_S = 0.05


class CtrlC:
    """The handler of its signal: raises `KeyboardInterrupt`, and remembers that it was a person."""

    def __init__(self) -> None:
        self.pressed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Hear it."""
        self.pressed = True
        signal.default_int_handler(number, frame)


@contextmanager
def heard() -> Iterator[CtrlC]:
    """Hear Ctrl-C within the block; where this thread is never told, or the process ignores it, nothing changes."""
    before = signal.getsignal(signal.SIGINT)
    if isinstance(before, CtrlC):
        yield before
        return
    ctrl_c = CtrlC()
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield ctrl_c
        return
    signal.signal(signal.SIGINT, ctrl_c)
    try:
        with _raised_again():
            yield ctrl_c
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _raised_again() -> Iterator[None]:
    """Raise again a Ctrl-C that came where Python can only forget it."""
    before = sys.unraisablehook

    def told(lost: sys.UnraisableHookArgs) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            again = threading.Timer(SOON_S, _thread.interrupt_main)  # here it would be forgotten, too
            again.daemon = True
            again.start()
        else:
            before(lost)

    sys.unraisablehook = told
    try:
        yield
    finally:
        sys.unraisablehook = before
