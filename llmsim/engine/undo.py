"""What is changed on trial can be taken back: whatever is about to change is written down first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Entry = tuple[Callable[..., object], tuple[Any, ...]]


class Undo:
    """How to take back what has been done since a trial began."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: list[Entry] | None = None  #: None: no trial is under way, and nothing need be kept

    def back(self) -> None:
        """Take back all that has been done since."""
        assert self.entries is not None
        for function, arguments in reversed(self.entries):
            function(*arguments)
        self.entries = None
