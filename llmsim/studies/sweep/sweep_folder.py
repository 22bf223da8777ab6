"""The folder of a sweep: a file for each point, there whole or not at all, and one table of them all.

``points/KEY.json`` is kept as in `studies.kept_runs`: a sweep that was killed at any moment finds what it had. Its key
says all that its numbers depend on: a file of another definition has another name, is left and never read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import llmsim
from llmsim.errors import InputError
from llmsim.experiment import check_folder
from llmsim.experiment.holding import held
from llmsim.experiment.seal import SEAL_FILE, is_signed, question, seal, unsealed
from llmsim.metrics.distributions import Distributions
from llmsim.metrics.moved_bounds import MovedBounds
from llmsim.reading import parse_json, read_text
from llmsim.studies.kept_runs import Damaged, KeptRuns
from llmsim.studies.sweep.point_keys import code_hash
from llmsim.studies.sweep.point_run import PointResult
from llmsim.studies.sweep.sweep_definition import Point, Sweep
from llmsim.studies.sweep.sweep_table import SweepRow
from llmsim.writing import replaced

#: the file whose presence makes a folder that of a sweep
SWEEP_FILE = "sweep.json"
TABLE = "sweep.parquet"
TABLE_SO_FAR = "sweep_so_far.parquet"
CURVES, HEAT_MAPS = "curves.png", "heat_maps.png"
POINTS = "points"
LOCK = ".lock"


class Store:
    """What a sweep has kept, and where. One process at a time: take it with `opened`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._points = KeptRuns(folder / POINTS)

    def load(self, points: Sequence[Point]) -> tuple[dict[str, PointResult], list[str]]:
        """Return the results that are there, by key, and the names of damaged files, which are as good as absent."""
        found: dict[str, PointResult] = {}
        damaged = []
        for key in {point.key: None for point in points}:
            try:
                kept = self._points.find(key)
                if kept is not None:
                    found[key] = PointResult.from_dict(kept)
            except (Damaged, ValueError, KeyError, TypeError, AttributeError):
                damaged.append(self._points.file_of(key).name)
        return found, damaged

    def others(self, points: Sequence[Point]) -> int:
        """Count the files of points that this sweep does not ask for."""
        return len({file.stem for file in (self.folder / POINTS).glob("*.json")} - {point.key for point in points})

    def keep(self, point: Point, result: PointResult) -> None:
        """Keep a point's result. InputError if the disk is full or the like; then the file is not there at all."""
        values = {
            "llmsim": llmsim.__version__,
            "code": code_hash(),
            "scenario": point.scenario.model_dump(mode="json"),
            **result.to_dict(),
        }
        self._points.keep(point.key, values)

    def seal(self, table: str) -> None:
        """Write the seal of the folder: of its definition and this table."""
        written = _written(self.folder)
        points = None if written is None else written.points
        seal(self.folder, question(points=points), (SWEEP_FILE, table))

    def begin(self, sweep: Sweep, command: str) -> None:
        """Write down what is asked; tables and pictures of another question go, their points stay."""
        asked, before = WrittenSweep.of(sweep, command), _written(self.folder)
        if before is None or (before.points, before.axes) != (asked.points, asked.axes):
            for file in (SEAL_FILE, TABLE, TABLE_SO_FAR, CURVES, HEAT_MAPS):
                (self.folder / file).unlink(missing_ok=True)
        if before != asked:
            with replaced(self.folder / SWEEP_FILE) as scratch:
                scratch.write_text(json.dumps(asked.to_dict(), indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class WrittenAxis:
    """An axis of a sweep in its folder."""

    fields: tuple[str, ...]  #: that move together
    values: tuple[tuple[Any, ...], ...]  #: one of each field at a time


@dataclass(frozen=True)
class WrittenSweep:
    """What ``sweep.json`` says: enough to label the sweep's table, and to run it again."""

    llmsim: str  #: version
    name: str
    source: str
    command: str  #: "" where it was run from Python
    axes: tuple[WrittenAxis, ...]
    seeds: tuple[int, ...]
    points: tuple[str, ...]  #: keys, in the order of the table
    first_scenario: Mapping[str, Any]

    @classmethod
    def of(cls, sweep: Sweep, command: str) -> Self:
        """What is to be written of a sweep."""
        return cls(
            llmsim.__version__,
            sweep.name,
            str(sweep.source),
            command,
            tuple(WrittenAxis(axis.names, axis.values) for axis in sweep.axes),
            tuple(sweep.seeds),
            tuple(point.key for point in sweep.points),
            sweep.points[0].scenario.model_dump(mode="json"),
        )

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of all axes."""
        return tuple(field for axis in self.axes for field in axis.fields)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "axes": [vars(axis) for axis in self.axes]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; KeyError or TypeError for anything else."""
        axes = (WrittenAxis(tuple(one["fields"]), tuple(map(tuple, one["values"]))) for one in values["axes"])
        words = {name: values[name] for name in ("llmsim", "name", "source", "command", "first_scenario")}
        return cls(**words, axes=tuple(axes), seeds=tuple(values["seeds"]), points=tuple(values["points"]))


@dataclass(frozen=True)
class KeptBeside:
    """What is kept of a point beside its score; None where an earlier version, or nothing, has kept it."""

    distributions: Distributions | None = None
    moved: MovedBounds | None = None  #: None also without an SLO
    scenario: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Kept:
    """A sweep as it lies in a folder."""

    written: WrittenSweep
    rows: list[SweepRow]
    beside: list[KeptBeside]  #: of each row
    finished: bool


def read_kept(folder: Path) -> Kept:
    """Read what a sweep found, all of it or what there is so far; InputError if the folder holds no sweep."""
    written = _written(folder)
    if written is None:
        raise InputError(f"{folder / SWEEP_FILE}: expected what llmsim sweep has written")
    file = next((folder / name for name in (TABLE, TABLE_SO_FAR) if (folder / name).is_file()), None)
    if file is None:
        return Kept(written, [], [], finished=False)
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = pq.read_table(pa.BufferReader(unsealed(file))).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{file}: not a readable Parquet file: {str(error).splitlines()[0]}") from None
    rows = [SweepRow.from_dict(row, written.fields) for row in columns]
    there = written.points if file.name == TABLE else ()
    return Kept(written, rows, [_beside(folder, key) for key in there], finished=file.name == TABLE)


def _beside(folder: Path, key: str) -> KeptBeside:
    said = _read(folder / POINTS / f"{key}.json")
    try:
        if said is None or not is_signed(said):
            return KeptBeside()
        found = PointResult.from_dict(said)
        return KeptBeside(found.distributions, found.moved, said["scenario"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return KeptBeside()


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    """Make or find a sweep's folder, for this process alone; InputError where none can be."""
    if not _just_begun(folder):
        check_folder(folder, SWEEP_FILE)
    try:
        (folder / POINTS).mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from None
    with held(folder / LOCK) as mine:
        if not mine:
            raise InputError(f"{folder}: another sweep is writing there; wait for it, or give another --out")
        for scratch in [*folder.glob(".*.part"), *(folder / POINTS).glob(".*.part")]:
            scratch.unlink(missing_ok=True)  # of a sweep that was killed
        yield Store(folder)


def _just_begun(folder: Path) -> bool:
    """Whether a sweep was killed here before it could write its mark."""
    return folder.is_dir() and {file.name for file in folder.iterdir()} <= {LOCK, POINTS, f".{SWEEP_FILE}.part"}


def _written(folder: Path) -> WrittenSweep | None:
    said = _read(folder / SWEEP_FILE)
    try:
        return None if said is None else WrittenSweep.from_dict(said)
    except (KeyError, TypeError):
        return None


def _read(file: Path) -> dict[str, Any] | None:
    """What a JSON file says; None if it is absent, or not of our making."""
    try:
        said = parse_json(read_text(file), str(file))
    except (OSError, ValueError, InputError):
        return None
    return said if isinstance(said, dict) else None
