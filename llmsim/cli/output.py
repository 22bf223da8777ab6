"""What every verb prints: JSON for machines, a picture of progress for people."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsim.errors import InputError
from llmsim.writing import check_place

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID

    from llmsim.scenario import Scenario

PNG = b"\x89PNG"
PATIENCE_S = 1.0  #: before a bar shows
#: off a terminal the first line comes after so long, and each after so many times the time of the one before
FIRST_LINE_S, LINE_FACTOR = 5.0, 2.0
LONG_S = 20.0  #: shorter work is not announced
MUCH = 0.5  #: share of the free memory that is worth a word
_VERBOSE: ContextVar[bool] = ContextVar("verbose", default=False)


def print_json(values: dict[str, Any]) -> None:
    """Print one JSON object, and nothing else, to stdout."""
    print(json.dumps(values, indent=2, allow_nan=False))


def check_picture(file: Path | None) -> None:
    """Refuse a place where no picture can go, before any work is done for it."""
    if file is None:
        return
    if file.suffix.lower() != ".png" or not file.parent.is_dir() or file.is_dir():
        raise InputError(f"--picture {file}: expected a file that ends in .png, in a folder that exists")
    check_place(file, PNG)


class ProgressBar:
    """How far long work is, on stderr: a bar on a terminal, elsewhere a line now and then, at ever longer intervals.

    Neither shows for work that is done at once. Both say how long the rest will take, by what was done so far.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._started_s = time.monotonic()
        self._next_line_s = FIRST_LINE_S
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
        took_s = time.monotonic() - self._started_s
        if not sys.stderr.isatty():
            self._line(done, total, took_s)
            return
        if self._bar is None:
            if took_s < PATIENCE_S:
                return
            self._start(total)
        assert self._bar is not None
        assert self._task is not None
        self._bar.update(self._task, completed=done, total=total)

    def _line(self, done: int, total: int, took_s: float) -> None:
        if took_s < self._next_line_s or done >= total:
            return
        self._next_line_s = took_s * LINE_FACTOR
        rest = f", about {duration(took_s * (total - done) / done)} left" if done else ""
        print(f"{self._what}: {done:,} of {total:,} after {duration(took_s)}{rest}", file=sys.stderr, flush=True)

    def _start(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(self._what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(self._what, total=total)
        self._bar.start()


def duration(seconds: float) -> str:
    """Write a duration so that it can be waited for: 40 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def expect(*scenarios: Scenario, times: int = 1, jobs: int = 1) -> None:
    """Say on stderr how long runs that are not short will take, and how much memory where that is much.

    InputError for what cannot fit into the memory that is free.
    """
    from llmsim.experiment.sizes import REQUESTS_PER_S, Size, available_bytes, check_fits, in_gb

    for scenario in scenarios:
        check_fits(scenario)
    size = Size.of(scenarios, times)
    at_once = min(jobs, size.runs)
    seconds, free = size.seconds / at_once, available_bytes()
    much = free is not None and at_once * size.bytes > MUCH * free
    if seconds < LONG_S and not much:
        return
    of = f"{size.requests:,} requests"
    if size.runs > 1:
        of = f"{size.runs:,} runs of {size.requests // size.runs:,} requests"
    rest = f", and up to {in_gb(at_once * size.bytes)} of memory ({in_gb(free)} are free)" if much and free else ""
    speed = f"at {REQUESTS_PER_S:,} requests/s a process"
    print(f"{of}: roughly {duration(seconds)}, {speed}{rest}", file=sys.stderr, flush=True)


@contextmanager
def told(what: str) -> Iterator[None]:
    """With -v, say on stderr how long a part of a command took."""
    started_s = time.monotonic()
    yield
    if verbose():
        print(f"{what}: {time.monotonic() - started_s:.2f} s", file=sys.stderr)


def verbose() -> bool:
    """Whether the command was called with -v."""
    return _VERBOSE.get()


def be_verbose(asked: bool) -> None:
    """Remember -v for the rest of the command."""
    _VERBOSE.set(asked)
