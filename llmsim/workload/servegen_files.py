"""The files of ServeGen's clients: chunk-N-trace.csv and chunk-N-dataset.json, in a folder or a tar archive.

A line of the trace is a window: start in seconds, rate per second, CV, family of the gaps (Gamma or Weibull), their
shape and scale; a window without requests has rate 0 and no family. The dataset has, by the start of a longer window,
distributions as text: ``{"0": {"input_tokens": "{45: 0.25, 46: 0.75}", "output_tokens": ...}}``.
"""

from __future__ import annotations

import json
import math
import re
import tarfile
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError, nearest
from llmsim.reading import MIB, MOST_BYTES, opened, parse_json, read_bytes

#: length of a trace's only window; that of others is their distance
WINDOW_S = 600.0
#: families of gaps, and the least shape of each: below it, moments of Weibull gaps overflow
LEAST_SHAPE = {"Gamma": 1e-4, "Weibull": 0.01}
_NAME = re.compile(r"chunk-(\d{1,9})-(trace\.csv|dataset\.json)", re.ASCII)
_FIELDS = ("window start", "rate", "CV", "family", "shape", "scale")
_MOST_TOKENS = 10**9
_PROBABILITY_OFF = 1e-6


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Arrivals in [start_s, end_s); family and shape are "" and 0 where there are none."""

    start_s: float
    end_s: float
    rate_per_s: float
    family: str
    shape: float


@dataclass(frozen=True, eq=False, slots=True)
class Distribution:
    """Token counts in ascending order, and the probability of each or less, which ends with 1."""

    tokens: NDArray[np.int64]
    up_to: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Client:
    """One client; `lengths` has prompt and output lengths by the time from which on they hold, ascending."""

    number: int
    windows: tuple[TimeWindow, ...]
    lengths: Mapping[float, tuple[Distribution, Distribution]]

    def lengths_at(self, time_s: float) -> tuple[Distribution, Distribution]:
        """Return the distributions of prompt and output that hold at a time."""
        starts = list(self.lengths)
        return self.lengths[starts[bisect_right(starts, time_s) - 1]]


def read_clients(path: Path) -> tuple[Client, ...]:
    """Read all clients of a folder or archive, by number; InputError with file, client and line."""
    files: dict[int, dict[str, tuple[str, bytes]]] = {}
    for name, data in _contents(path):
        found = _NAME.fullmatch(Path(name).name)
        assert found is not None
        number, kind = int(found[1]), found[2]
        if kind in files.setdefault(number, {}):
            both = f"{files[number][kind][0]} and in {name}"
            raise InputError(f"{path}: client {number} is in {both}; expected the clients of one model")
        files[number][kind] = (name, data)
    if not files:
        raise InputError(f"{path}: no client; expected files named chunk-0-trace.csv and chunk-0-dataset.json")
    return tuple(_client(path, number, files[number]) for number in sorted(files))


def client_files(folder: Path) -> list[Path]:
    """List the files of clients in a folder and those below, in order."""
    return sorted(file for file in folder.rglob("chunk-*") if _NAME.fullmatch(file.name) and file.is_file())


def _contents(path: Path) -> list[tuple[str, bytes]]:
    try:
        if path.is_dir():
            return [(file.relative_to(path).as_posix(), read_bytes(file)) for file in client_files(path)]
        with opened(path) as plain, tarfile.open(fileobj=plain, mode="r|*") as archive:
            return list(_members(path, archive))
    except FileNotFoundError:
        raise InputError(f"{path}: no such folder or archive of ServeGen clients") from None
    except (tarfile.TarError, EOFError, zlib.error) as error:
        what = " ".join(str(error).split())
        raise InputError(f"{path}: not a whole tar archive, expected a folder or a .tar.gz ({what})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _members(path: Path, archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """Yield the files of clients, one after another; InputError where they are larger than any are."""
    left = MOST_BYTES
    for each in archive:
        left -= each.size
        if left < 0:
            raise InputError(f"{path}: more than {MOST_BYTES // MIB} MiB within, expected at most that")
        if each.isfile() and _NAME.fullmatch(Path(each.name).name) and (file := archive.extractfile(each)) is not None:
            yield each.name, file.read()


def _client(path: Path, number: int, files: Mapping[str, tuple[str, bytes]]) -> Client:
    texts: dict[str, tuple[str, str]] = {}
    for kind in ("trace.csv", "dataset.json"):
        if kind not in files:
            raise InputError(f"{path}: client {number} has no chunk-{number}-{kind}")
        name, data = files[kind]
        where = f"{path}, {name} (client {number})"
        try:
            texts[kind] = (where, data.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise InputError(f"{where}, line {line}: not text in UTF-8") from None
    windows = _windows(*texts["trace.csv"])
    where, text = texts["dataset.json"]
    given = _dataset(where, text)
    lengths: dict[float, tuple[Distribution, Distribution]] = {}
    for start in sorted({_key_at(where, list(given), each.start_s) for each in windows if each.rate_per_s > 0}):
        key, fields = given[start]
        lengths[start] = (
            _lengths(where, key, fields, "input_tokens", least=1),
            _lengths(where, key, fields, "output_tokens", least=0),
        )
    return Client(number, windows, lengths)


def _windows(where: str, text: str) -> tuple[TimeWindow, ...]:
    rows: list[tuple[int, float, float, str, float]] = []
    for line, content in enumerate(text.splitlines(), start=1):
        if content.strip():
            rows.append((line, *_row(f"{where}, line {line}", content)))
    if not rows:
        raise InputError(f"{where}: no windows")
    step_s = rows[1][1] - rows[0][1] if len(rows) > 1 else WINDOW_S
    for (_, before_s, *_), (line, start_s, *_) in pairwise(rows):
        if start_s <= before_s or not math.isclose(start_s - before_s, step_s):
            expected = f"{before_s + step_s:g}, as windows of {step_s:g} s go on" if step_s > 0 else "a later one"
            raise InputError(f"{where}, line {line}: window start is {start_s:g}, expected {expected}")
    ends = [*(row[1] for row in rows[1:]), rows[-1][1] + step_s]
    return tuple(TimeWindow(row[1], end_s, *row[2:]) for row, end_s in zip(rows, ends, strict=True))


def _row(where: str, content: str) -> tuple[float, float, str, float]:
    """Start, rate, family and shape of a line. The rate sets the scale of the gaps, and the shape their CV.

    The file's own CV and scale, measured and fitted, need not agree with them; ServeGen's generator goes by rate and
    shape too.
    """
    fields = [field.strip() for field in content.split(",")]
    if len(fields) != len(_FIELDS):
        raise InputError(f"{where}: {len(fields)} fields, expected {len(_FIELDS)}: {', '.join(_FIELDS)}")
    start_s, rate_per_s = (_number(where, fields, at, 0.0) for at in (0, 1))
    if rate_per_s == 0:
        return start_s, 0.0, "", 0.0
    if fields[3] not in LEAST_SHAPE:
        raise InputError(f"{where}: unknown family '{fields[3]}'{nearest(fields[3], LEAST_SHAPE)}")
    for at in (2, 5):
        _number(where, fields, at, 0.0)
    return start_s, rate_per_s, fields[3], _number(where, fields, 4, LEAST_SHAPE[fields[3]])


def _number(where: str, fields: list[str], at: int, least: float) -> float:
    try:
        value = float(fields[at])
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        raise InputError(f"{where}: {_FIELDS[at]} is '{fields[at]}', expected a number of at least {least:g}")
    return value


def _dataset(where: str, text: str) -> dict[float, tuple[str, Any]]:
    """Return key and fields of every window of lengths by its start, ascending."""
    try:
        data = parse_json(text, where)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}, line {error.lineno}: not valid JSON: {error.msg}") from None
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected a JSON object, window start -> lengths")
    for key in data:
        if not re.fullmatch(r"\d+(\.\d+)?", key, re.ASCII):
            raise InputError(f"{where}: window '{key}', expected its start in seconds")
    return {float(key): (key, data[key]) for key in sorted(data, key=float)}


def _key_at(where: str, starts: list[float], time_s: float) -> float:
    """Return the start of the lengths that hold at a time: the last that is not later."""
    at = bisect_right(starts, time_s)
    if at == 0:
        raise InputError(f"{where}: no lengths for the requests at {time_s:g} s; expected a window from then or before")
    return starts[at - 1]


def _lengths(where: str, key: str, fields: Any, name: str, *, least: int) -> Distribution:
    at = f"{where}, window '{key}', {name}"
    if not isinstance(fields, dict) or not isinstance(fields.get(name), str):
        raise InputError(f"{at}: missing; expected text such as '{{45: 0.25, 46: 0.75}}'")
    text = fields[name].strip()
    pairs = [pair.split(":") for pair in text[1:-1].split(",") if pair.strip()]
    try:
        if text[:1] + text[-1:] != "{}":
            raise ValueError
        tokens = np.array([int(count) for count, _ in pairs], dtype=np.int64)
        probability = np.array([float(part) for _, part in pairs])
    except (ValueError, OverflowError):
        raise InputError(f"{at}: expected token counts and probabilities such as '{{45: 0.25, 46: 0.75}}'") from None
    if len(tokens) == 0:
        raise InputError(f"{at}: empty, and the client has requests in this window")
    order = np.argsort(tokens)
    tokens, probability = tokens[order], probability[order]
    if tokens[0] < least or tokens[-1] > _MOST_TOKENS or (np.diff(tokens) == 0).any():
        raise InputError(f"{at}: expected different token counts from {least} to {_MOST_TOKENS}")
    total = float(probability.sum())
    if not (probability >= 0).all() or not abs(total - 1) <= _PROBABILITY_OFF:
        raise InputError(f"{at}: probabilities that sum to {total:g}, expected 1, none below 0")
    possible = probability > 0
    up_to = np.cumsum(probability[possible])
    return Distribution(tokens[possible], up_to / up_to[-1])
