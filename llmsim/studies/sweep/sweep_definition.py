"""What a sweep asks: a scenario's file, its ``[sweep]`` table, and the points that come of them."""

from __future__ import annotations

import itertools
import json
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.experiment.own_files import NO_FILES, OwnClasses, OwnFiles
from llmsim.quantities import Count
from llmsim.scenario import LatencyChoice, Scenario, ServeGenWorkload, TraceWorkload
from llmsim.scenario.load import COMMAND_LINE, Change, Keys, Source, parse_change, read_source
from llmsim.scenario.table import Table
from llmsim.studies.sweep.axes import Axis, parse_axis, read_axes, read_zip
from llmsim.studies.sweep.point_keys import PROFILES, is_file_name, key_of

#: more runs than this are a slip of the pen
MOST_POINTS = 1_000_000
T = TypeVar("T", bound=Table)
SEEDS: TypeAdapter[Any] = TypeAdapter(Count)


@dataclass(frozen=True)
class Point:
    """One run of a sweep."""

    axes: Mapping[str, Any]  #: field -> value, in the order of the axes
    scenario: Scenario
    key: str  #: hash of everything that the run depends on

    @property
    def name(self) -> str:
        """The point in words."""
        fields = ", ".join(f"{name}={_as_written(value)}" for name, value in self.axes.items())
        return f"{fields}{', ' if fields else ''}seed={self.scenario.seed}"


@dataclass(frozen=True)
class Sweep:
    """A whole sweep: every point validated, none run."""

    name: str
    source: Path
    axes: tuple[Axis, ...]
    seeds: tuple[int, ...]
    points: tuple[Point, ...]  #: in the order of the table: the last axis moves fastest, and the seed within it
    files: OwnFiles = NO_FILES

    @property
    def fields(self) -> tuple[str, ...]:
        """Every field that is swept."""
        return tuple(name for axis in self.axes for name in axis.names)


def read_sweep(
    path: str | Path,
    changes: Sequence[str] = (),
    axes: Sequence[str] = (),
    seeds: int | None = None,
    files: OwnFiles = NO_FILES,
    *,
    said: Callable[[int], None] | None = None,
) -> Sweep:
    """Read a scenario's file and what the command line adds; InputError unless every point can be run.

    `changes` are ``key=value`` as of ``--set``, `axes` are ``key=values`` and take the place of the file's axis of that
    name, `files` are those of ``--scheduler-file`` and ``--latency-file``. `seeds` counts from the scenario's own.
    `said` is told how many runs there will be, before they are checked one by one. Raises InputError with the place of
    what is wrong.
    """
    source = read_source(path)
    given = [parse_change(text) for text in changes]
    classes = files.load()
    given += files.changes()
    chosen = tuple(_axes(source, axes))
    _check_fields(chosen, given)
    numbers = _seeds(source, given, seeds)
    count = math.prod(len(axis.values) for axis in chosen) * len(numbers)
    if count > MOST_POINTS:
        raise InputError(f"{source.file}: {count:,} runs; expected at most {MOST_POINTS:,}")
    if said is not None:
        said(count)
    files = files.resolved()
    points = tuple(_points(source, given, chosen, numbers, classes, files))
    return Sweep(points[0].scenario.name, source.file, chosen, numbers, points, files)


def command_of(
    scenario: str | Path,
    changes: Sequence[str],
    axes: Sequence[str],
    seeds: int | None,
    files: OwnFiles,
    folder: Path,
    *,
    force: bool = False,
) -> str:
    """The command that asks for these points; where they were run is no part of it."""
    words = ["llmsim", "sweep", str(scenario)]
    for option, values in (("--set", changes), ("--axis", axes)):
        words += [word for value in values for word in (option, value)]
    words += ["--seeds", str(seeds)] if seeds is not None else []
    for option, file in (("--scheduler-file", files.scheduler), ("--latency-file", files.latency)):
        words += [option, str(file)] if file is not None else []
    words += ["--force"] if force else []
    return shlex.join([*words, "--out", str(folder)])


def _as_written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(source: Source) -> Mapping[str, Any]:
    table = source.data.get("sweep", {})
    if not isinstance(table, dict):
        raise InputError(f"{source.place('sweep')}sweep: {table!r}: expected a table")
    return table


def _axes(source: Source, arguments: Sequence[str]) -> Iterator[Axis]:
    table = _table(source)
    of_command_line = dict(parse_axis(text) for text in arguments)
    known = {key: value for key, value in table.items() if key not in ("seeds", "zip")}
    for axis in read_axes(known, lambda keys: source.place(*keys), ("sweep",)):
        if axis.names[0] not in of_command_line:
            yield axis
    zips = table.get("zip", [])
    for one in zips if isinstance(zips, list) else [zips]:
        yield read_zip(one, lambda keys: source.place(*keys), ("sweep", "zip"))
    yield from read_axes(of_command_line, lambda _: COMMAND_LINE, ())


def _check_fields(axes: Sequence[Axis], given: Sequence[Change]) -> None:
    """Refuse what would be set twice, and seeds among the axes."""
    if not axes:
        raise InputError(
            "nothing to sweep: give the scenario a table [sweep] with an axis, such as "
            '"cluster.instances" = [1, 2, 4], or --axis cluster.instances=1,2,4'
        )
    taken: dict[Keys, str] = {change.keys: "--set" for change in given}
    for axis in axes:
        for keys, place in zip(axis.fields, axis.places, strict=True):
            name = ".".join(keys)
            if keys == ("seed",):
                raise InputError(f"{place}seed: is no axis of its own; give seeds = 5, or --seeds 5")
            other = next((said for one, said in taken.items() if _overlap(one, keys)), None)
            if other is not None:
                raise InputError(f"{place}{name}: is an axis, and also given by {other}; expected one of them")
            taken[keys] = f"the axis {name}"


def _overlap(one: Keys, other: Keys) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _seeds(source: Source, given: Sequence[Change], asked: int | None) -> tuple[int, ...]:
    """The seeds: those listed, or so many from the scenario's own on."""
    seeds = _table(source).get("seeds", 1) if asked is None else asked
    place = source.place("sweep", "seeds") if asked is None else COMMAND_LINE
    if isinstance(seeds, list):
        whole = all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in seeds)
        if not seeds or not whole or len(set(seeds)) < len(seeds):
            raise InputError(f"{place}sweep.seeds: {seeds}: expected whole numbers from 0, each once")
        return tuple(seeds)
    try:
        count = SEEDS.validate_python(seeds, strict=True)
    except ValidationError:
        raise InputError(f"{place}sweep.seeds: {seeds!r}: expected how many seeds, from 1, or a list of them") from None
    first = next((c.value for c in reversed(given) if c.keys == ("seed",)), source.data.get("seed", 0))
    if not isinstance(first, int) or isinstance(first, bool) or first < 0:
        raise InputError(f"{source.place('seed')}seed: {first!r}: expected a whole number from 0")
    return tuple(range(first, first + count))


def _points(
    source: Source,
    given: Sequence[Change],
    axes: Sequence[Axis],
    seeds: Sequence[int],
    classes: OwnClasses,
    files: OwnFiles,
) -> Iterator[Point]:
    """Make and check every point, the checks that several share once."""
    checked: set[str] = set()
    for values in itertools.product(*(axis.values for axis in axes)):
        moved = [
            Change(keys, value, place)
            for axis, row in zip(axes, values, strict=True)
            for keys, value, place in zip(axis.fields, row, axis.places, strict=True)
        ]
        for seed in seeds:
            scenario = _with_whole_paths(source.scenario([*given, *moved, Change(("seed",), seed)]))
            parts = scenario.model_dump_json(exclude={"seed", "workload", "patience", "until_s"})
            if parts not in checked:
                experiment.check(scenario, **classes)
                checked.add(parts)
            fields = {".".join(change.keys): change.value for change in moved}
            yield Point(fields, scenario, key_of(scenario, files))


def _with_whole_paths(scenario: Scenario) -> Scenario:
    """Name files so that a process elsewhere on the machine finds them."""
    workload = scenario.workload
    changed: dict[str, Any] = {
        "cluster": _with_whole_latency(_whole(scenario.cluster, PROFILES)),
        "host": _whole(scenario.host, ("profile",)),
        "pool": tuple(
            _with_whole_latency(_whole(pool, PROFILES)).model_copy(update={"host": _whole(pool.host, ("profile",))})
            for pool in scenario.pool
        ),
    }
    if isinstance(workload, TraceWorkload):
        changed["workload"] = workload.model_copy(update={"trace": str(Path(workload.trace).resolve())})
    if isinstance(workload, ServeGenWorkload):
        changed["workload"] = workload.model_copy(update={"servegen": str(Path(workload.servegen).resolve())})
    return scenario.model_copy(update=changed)


def _with_whole_latency(table: T) -> T:
    """Name a file that step times come from so, too: an option that is the name of a profile."""
    chosen: LatencyChoice | None = getattr(table, "latency", None)
    if chosen is None or not any(map(is_file_name, chosen.options.values())):
        return table
    whole = {key: str(Path(said).resolve()) if is_file_name(said) else said for key, said in chosen.options.items()}
    return table.model_copy(update={"latency": LatencyChoice(name=chosen.name, **whole)})


def _whole(table: T, keys: Sequence[str]) -> T:
    names = {key: getattr(table, key, None) for key in keys}
    files = {key: str(Path(name).resolve()) for key, name in names.items() if name is not None and is_file_name(name)}
    return table.model_copy(update=files) if files else table
