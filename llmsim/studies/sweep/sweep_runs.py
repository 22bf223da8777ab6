"""Run a sweep, or what is left of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmsim.errors import InputError, Interrupted, LlmsimError
from llmsim.metrics.distributions import Distributions
from llmsim.metrics.moved_bounds import MovedBounds
from llmsim.studies.executors import Executors, in_this_process
from llmsim.studies.sweep.drive import Drive, Failure
from llmsim.studies.sweep.point_run import PointResult
from llmsim.studies.sweep.sweep_definition import Point, Sweep
from llmsim.studies.sweep.sweep_folder import TABLE, TABLE_SO_FAR, Store, opened
from llmsim.studies.sweep.sweep_table import SweepRow, rows_of, to_arrow
from llmsim.writing import replaced

#: the table of what is done so far is brought up to date this often
SO_FAR_EVERY_S = 10.0
#: failed points that a message names
NAMED_FAILURES = 3


@dataclass(frozen=True)
class FinishedSweep:
    """A finished sweep."""

    sweep: Sweep
    rows: list[SweepRow]  #: one a point, in the order of the points
    distributions: list[Distributions | None]  #: likewise
    moved: list[MovedBounds | None]  #: likewise, the requests that miss the SLO, or would miss another
    ran: int  #: points that were run now; the others were there
    others: int  #: files of points that this sweep does not ask for, left where they are


def run_sweep(
    sweep: Sweep,
    folder: Path,
    *,
    executors: Executors = in_this_process,
    in_flight: int = 1,
    command: str = "",
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
    said: Callable[[str], None] | None = None,
) -> FinishedSweep:
    """Run the points that `folder` lacks and write its table; the same rows whichever the executor.

    P99s of runs that are not steady are withheld unless `force`. `in_flight` points are handed out at a time.
    `progress` is told of points run, and of all to run; `said` gets lines for a person. Raises InputError for a folder
    that cannot be written, LlmsimError if points failed and Interrupted for Ctrl-C: then all that was done is kept.
    """
    with opened(folder) as store:
        store.begin(sweep, command)
        results, damaged = store.load(sweep.points)
        left = list({point.key: point for point in sweep.points if point.key not in results}.values())
        others = store.others(sweep.points)
        for line in _beginning(sweep, len(left), damaged, others, folder):
            (said or _unsaid)(line)
        incoming = _Results(store, sweep, results, len(left), progress, force)
        with _telling_what_is_kept(incoming):
            failures = Drive(executors, in_flight, incoming.done, sweep.files).run(left)
            if failures:
                incoming.write_so_far()
                raise LlmsimError(_told(failures))
            rows = incoming.rows()
            write_table(rows, folder / TABLE)
            store.seal(TABLE)
        (folder / TABLE_SO_FAR).unlink(missing_ok=True)
        each = [results[point.key] for point in sweep.points]
        distributions: list[Distributions | None] = [one.distributions for one in each]
        return FinishedSweep(sweep, rows, distributions, [one.moved for one in each], incoming.ran, others)


@contextmanager
def _telling_what_is_kept(incoming: _Results) -> Iterator[None]:
    """Say of whatever ends a sweep early what is kept, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        incoming.write_so_far()
        raise Interrupted(f"interrupted; {incoming.kept()}") from None
    except LlmsimError as error:
        raise type(error)(f"{error}; {incoming.kept()}") from None


def write_table(rows: list[SweepRow], file: Path) -> None:
    """Write rows as Parquet, in one move; the same rows give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole = pa.BufferOutputStream()
    pq.write_table(to_arrow([row.to_dict() for row in rows]), whole)
    with replaced(file) as scratch:
        scratch.write_bytes(whole.getvalue())


class _Results:
    """Results as they come: kept, counted, and put into a table now and then."""

    def __init__(
        self,
        store: Store,
        sweep: Sweep,
        results: dict[str, PointResult],
        left: int,
        progress: Callable[[int, int], None] | None,
        force: bool,
    ) -> None:
        self._force = force
        self._store, self._sweep, self._results, self._progress = store, sweep, results, progress
        self._left = left
        self.ran = 0
        self._written_s = time.monotonic()

    def done(self, point: Point, result: PointResult) -> None:
        self._store.keep(point, result)
        self._results[point.key] = result
        self.ran += 1
        if self._progress is not None:
            self._progress(self.ran, self._left)
        if time.monotonic() - self._written_s > SO_FAR_EVERY_S:
            self.write_so_far()

    def rows(self) -> list[SweepRow]:
        """The rows of what is done."""
        scores = {key: result.score for key, result in self._results.items()}
        return rows_of(self._sweep.points, scores, force=self._force)

    def kept(self) -> str:
        """What is kept, and how to go on."""
        points = {point.key for point in self._sweep.points}
        done, folder = len(points & self._results.keys()), self._store.folder
        return f"{done:,} of {len(points):,} runs are kept in {folder}, the same command goes on from there"

    def write_so_far(self) -> None:
        """Write a partial results table for inspection during the sweep. Best effort: errors are ignored."""
        self._written_s = time.monotonic()
        rows = self.rows()
        try:
            if rows:
                write_table(rows, self._store.folder / TABLE_SO_FAR)
                self._store.seal(TABLE_SO_FAR)
        except InputError:
            return


def _beginning(sweep: Sweep, left: int, damaged: list[str], others: int, folder: Path) -> list[str]:
    points = len({point.key for point in sweep.points})
    lines = []
    if left < points:
        lines.append(f"{points - left:,} of {points:,} runs are in {folder} already, {left:,} are to run")
    if damaged:
        names = ", ".join(damaged[:NAMED_FAILURES]) + (", …" if len(damaged) > NAMED_FAILURES else "")
        lines.append(f"{len(damaged):,} files of runs were damaged, and are made anew: {names} in {folder / 'points'}")
    if others:
        lines.append(f"{others:,} files of runs of other definitions or versions are left alone in {folder / 'points'}")
    return lines


def _told(failures: list[Failure]) -> str:
    named = "; ".join(f"{failure.point.name}: {failure.reason}" for failure in failures[:NAMED_FAILURES])
    more = f"; and {len(failures) - NAMED_FAILURES:,} more" if len(failures) > NAMED_FAILURES else ""
    return f"{len(failures):,} runs failed: {named}{more}" if len(failures) > 1 else f"a run failed: {named}{more}"


def _unsaid(_: str) -> None:
    return
