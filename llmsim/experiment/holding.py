"""Files and folders that one process holds while it lives: the system lets go of them however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # a system without such locks: two processes may do the same work, and none clears up for another
    CAN_HOLD = False
else:
    CAN_HOLD = True


@contextmanager
def held(place: Path) -> Iterator[bool]:
    """Hold a file or folder; False where another process does. True without locks."""
    if not CAN_HOLD:
        yield True
        return
    lock = os.open(place, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Let one process at a time move files into a folder: others wait for the moments that takes."""
    if not CAN_HOLD:
        yield
        return
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
