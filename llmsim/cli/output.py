"""What every verb prints: JSON for machines, a picture of progress for people."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsim.errors import InputError

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID

PATIENCE_S = 1.0


def print_json(values: dict[str, Any]) -> None:
    """Print one JSON object, and nothing else, to stdout."""
    print(json.dumps(values, indent=2, allow_nan=False))


def check_picture(file: Path | None) -> None:
    """Refuse a place where no picture can go, before any work is done for it."""
    if file is not None and (file.suffix.lower() != ".png" or not file.parent.is_dir() or file.is_dir()):
        raise InputError(f"--picture {file}: expected a file that ends in .png, in a folder that exists")


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Give a scratch file that takes `file`'s place in one move when the block ends well, and vanishes otherwise."""
    if not file.parent.is_dir() or file.is_dir():
        raise InputError(f"{file}: expected a file in a folder that exists")
    scratch = file.with_name(f".{file.name}.part")
    try:
        yield scratch
        scratch.replace(file)
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from None
    finally:
        scratch.unlink(missing_ok=True)


class ProgressBar:
    """A bar on stderr, drawn only if that is a terminal and the work takes longer than a second."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._started_s = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        """Show how much is done."""
        if self._bar is None:
            if not sys.stderr.isatty() or time.monotonic() - self._started_s < PATIENCE_S:
                return
            self._start(total)
        assert self._bar is not None
        assert self._task is not None
        self._bar.update(self._task, completed=done, total=total)

    def _start(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(self._what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(self._what, total=total)
        self._bar.start()
