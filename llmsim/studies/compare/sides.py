"""What is compared: scenarios that ask for the same requests and are judged alike, or one under several schedulers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from llmsim import experiment
from llmsim.errors import InputError, nearest
from llmsim.experiment.own_files import NO_FILES, OwnFiles
from llmsim.scenario import Scenario
from llmsim.scenario.load import Change, parse_change, read_source

#: tables and keys of a scenario that say which requests come, and by which yardstick they are judged
ALIKE_KEYS = ("seed", "until_s", "workload", "patience", "slo", "user", "window")
LEAST_SIDES = 2
MOST_SIDES = len(ascii_uppercase)
ABSENT_VALUE = "nothing"


@dataclass(frozen=True)
class Side:
    """One of the runs of each seed: a scenario, and the files of what is not found by its name."""

    label: str  #: A, B, …
    name: str
    scenario: Scenario
    files: OwnFiles = NO_FILES

    def __str__(self) -> str:
        return f"{self.label} ({self.name})"


def read_sides(
    paths: Sequence[str | Path],
    schedulers: Sequence[str] = (),
    changes: Sequence[str] = (),
    allowed: Sequence[str] = (),
    files: OwnFiles = NO_FILES,
    baseline: Side | None = None,
) -> tuple[Side, ...]:
    """Read two or more scenarios, or one for each of the schedulers (names, or Python files that end in .py).

    `changes` are ``key=value`` as of ``--set``, for every side, as are `files`, which name no scheduler. The first side
    is the one that others are held against; a `baseline`, which has been run, takes its place, and one other is enough.
    Raises InputError unless every side can be run, and for sides that differ in what `ALIKE_KEYS` names, keys or tables
    in `allowed` excepted.
    """
    if schedulers and len(paths) != 1:
        raise InputError(f"--schedulers goes with one scenario, {len(paths)} are given")
    given = [*(parse_change(text) for text in changes), *files.changes()]
    stored = () if baseline is None else (baseline,)
    if baseline is not None:
        given.append(Change(("seed",), baseline.scenario.seed))
    count = len(stored) + len(schedulers or paths)
    if not LEAST_SIDES <= count <= MOST_SIDES:
        raise InputError(
            f"{count} to compare: expected 2 to {MOST_SIDES} scenarios, or one with --schedulers NAME,NAME, "
            "or --baseline RESULT"
        )
    labels = ascii_uppercase[len(stored) :]
    if schedulers:
        sides = tuple(_of_schedulers(labels, paths[0], schedulers, given, files))
    else:
        sides = tuple(_of_files(labels, paths, given, files))
    for side in sides:
        experiment.check(side.scenario, **side.files.load())
    _check_alike((*stored, *sides), allowed)
    return (*stored, *sides)


def _of_files(labels: str, paths: Sequence[str | Path], given: Sequence[Change], files: OwnFiles) -> Iterator[Side]:
    for label, path in zip(labels, paths, strict=False):
        yield Side(label, str(path), read_source(path).scenario(given), files.resolved())


def _of_schedulers(
    labels: str, path: str | Path, schedulers: Sequence[str], given: Sequence[Change], files: OwnFiles
) -> Iterator[Side]:
    source = read_source(path)
    for label, name in zip(labels, schedulers, strict=False):
        file = Path(name) if name.endswith(".py") else None
        said = name if file is None else file.stem
        scenario = source.scenario([*given, Change(("scheduler", "name"), said)])
        yield Side(label, said, scenario, replace(files, scheduler=file).resolved())


def _check_alike(sides: Sequence[Side], allowed: Sequence[str]) -> None:
    """Refuse the first key in which a side asks for other requests, or judges them otherwise, than the first side."""
    first, *others = sides
    mine = _what_must_match(first.scenario)
    known = {table for key in _keys(mine) for table in _with_tables(key)}
    for key in allowed:
        if key not in known:
            raise InputError(f"--allow {key}: no key that must be the same{nearest(key, known)}")
    for side in others:
        for key, ours, theirs in _differing(mine, _what_must_match(side.scenario)):
            if not set(_with_tables(key)) & set(allowed):
                raise InputError(
                    f"{side.scenario.place(*key.split('.'))}{key}: {_in_words(theirs)} in {side}, "
                    f"{_in_words(ours)} in {first}: a comparison needs the same requests, judged alike; "
                    f"give both the same value with --set, or --allow {key}"
                )


def _what_must_match(scenario: Scenario) -> dict[str, Any]:
    """The values that must be the same, as tables."""
    values = scenario.model_dump(mode="json", include=set(ALIKE_KEYS))
    return {**{key: values[key] for key in ALIKE_KEYS}, "clients": {"measure_from": scenario.measured_from}}


def _differing(mine: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted keys that differ, and both values; a table that only one has is a value."""
    for key in [*mine, *(key for key in theirs if key not in mine)]:
        one, two = mine.get(key), theirs.get(key)
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            yield from _differing(one, two, f"{prefix}{key}.")
        elif one != two:
            yield f"{prefix}{key}", one, two


def _keys(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _with_tables(key: str) -> Iterator[str]:
    """A dotted key, and the tables that it stands in."""
    parts = key.split(".")
    return (".".join(parts[: i + 1]) for i in range(len(parts)))


def _in_words(value: Any) -> str:
    return ABSENT_VALUE if value is None else json.dumps(value) if isinstance(value, Mapping) else str(value)
