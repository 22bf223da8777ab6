"""The rows of a trace file: parsed at Arrow's speed; if anything is wrong, line by line to name the place."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.workload.prefixes import Prefixes, chained
from llmsim.workload.trace_format import (
    TraceFormat,
    choose_format,
    first_columns,
    json_object,
    shortened,
)

_GZIP_MAGIC = b"\x1f\x8b"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?")
_MOST_TOKENS = 2**53  # beyond it, a float no longer holds every whole number


@dataclass(frozen=True, eq=False)
class Rows:
    """Requests as the file has them, in its order; all arrays have shape (rows,)."""

    format: TraceFormat
    arrival_s: NDArray[np.float64]  #: on the trace's own clock
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]  #: 0 where the log has a request without output
    prefixes: Prefixes | None = None  #: None where the file has no hashes

    def __len__(self) -> int:
        return len(self.arrival_s)

    def take(self, index: NDArray[Any]) -> Rows:
        """Select rows by number or by mask."""
        prefixes = None if self.prefixes is None else self.prefixes.take(np.arange(len(self))[index])
        columns = (self.arrival_s[index], self.prompt_tokens[index], self.output_tokens[index])
        return Rows(self.format, *columns, prefixes)


@dataclass(frozen=True, slots=True)
class _Body:
    """A trace file taken apart: the lines with data, and where they start in the file."""

    path: Path
    format: TraceFormat
    columns: list[str]  #: a CSV's header; empty for JSON
    data: bytes
    first_line: int  #: number of the line at which data starts


def read_rows(path: Path, format_name: str) -> Rows:
    """Read every row of a trace, plain or gzipped; raises InputError naming file, line and field."""
    body = _open(path, format_name)
    try:
        table = _parse_csv(body) if body.format.lines == "csv" else _parse_jsonl(body)
        arrival = _seconds(table[body.format.arrival], body.format)
        prompt, output = (table[column].to_numpy() for column in body.format.columns[1:])
        prefixes = _prefixes(table, prompt, body.format)
    except (pa.ArrowInvalid, ValueError) as error:
        _blame(body, str(error))
    if table.num_rows == 0:
        raise InputError(f"{path}: no requests after the header")
    for tokens, least in ((prompt, 1), (output, 0)):
        if not ((tokens >= least) & (tokens < _MOST_TOKENS) & (tokens == np.floor(tokens))).all():
            _blame(body, "token counts out of range")
    if not (np.isfinite(arrival) & (arrival >= 0)).all():
        _blame(body, "arrival times out of range")
    return Rows(body.format, arrival, prompt.astype(np.int64), output.astype(np.int64), prefixes)


def _prefixes(table: Any, prompt_tokens: NDArray[np.float64], trace_format: TraceFormat) -> Prefixes | None:
    """Return what the hashes of a trace say of prompts that begin alike, or None if it has no hashes."""
    if trace_format.hashes is None or table[trace_format.hashes].null_count == table.num_rows:
        return None
    lists, size = table[trace_format.hashes].combine_chunks(), trace_format.hashed_tokens
    counts = lists.value_lengths().fill_null(0).to_numpy()
    if lists.flatten().null_count or (counts > np.ceil(prompt_tokens / size)).any():
        raise ValueError("hashes that do not fit the prompt")
    hashes = lists.flatten().to_numpy()
    start = np.concatenate([[0], np.cumsum(counts)])
    place = np.arange(len(hashes)) - np.repeat(start[:-1], counts)
    ends = np.minimum((place + 1) * size, np.repeat(prompt_tokens, counts)).astype(np.int64)
    names = chained(hashes[a:b].tolist() for a, b in pairwise(start.tolist()))
    return Prefixes(np.array(names, dtype=np.int64), ends, start)


def _open(path: Path, format_name: str) -> _Body:
    data = _read_text(path)
    start = len(data) - len(data.lstrip())
    if start == len(data):
        raise InputError(f"{path}: the file is empty")
    number = data.count(b"\n", 0, start) + 1
    end = data.find(b"\n", start) + 1 or len(data)
    head = data[start:end].decode("utf-8")
    where = f"{path}, line {number}"
    chosen = choose_format(format_name, head, where)
    if chosen.lines == "jsonl":
        return _Body(path, chosen, [], data[start:], number)
    return _Body(path, chosen, first_columns(head, where)[1], data[end:], number + 1)


def _read_text(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP_MAGIC):
            data = gzip.decompress(data)
    except FileNotFoundError:
        raise InputError(f"{path}: no such trace file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, expected a trace file") from None
    except EOFError:
        raise InputError(f"{path}: the gzip file is truncated") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: the gzip file is damaged ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(_not_text(path, data, error.start)) from None
    if b"\0" in data:
        raise InputError(_not_text(path, data, data.index(b"\0")))
    return data


def _not_text(path: Path, data: bytes, at: int) -> str:
    line = data.count(b"\n", 0, at) + 1
    return f"{path}, line {line}: not text (byte {data[at]:#04x}); expected CSV or JSON lines in UTF-8"


def _parse_csv(body: _Body) -> Any:
    if not body.data.strip():
        return pa.table({column: pa.array([], pa.float64()) for column in body.format.columns})
    types = dict.fromkeys(body.format.columns, pa.float64())
    if body.format.clock == "date":
        types[body.format.arrival] = pa.string()
    return pyarrow.csv.read_csv(
        io.BytesIO(body.data),
        read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=body.columns),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=types, include_columns=list(body.format.columns), null_values=[]
        ),
    )


def _parse_jsonl(body: _Body) -> Any:
    fields = [(column, pa.float64()) for column in body.format.columns]
    if body.format.hashes is not None:
        fields.append((body.format.hashes, pa.list_(pa.int64())))
    schema = pa.schema(fields)
    table = pyarrow.json.read_json(
        io.BytesIO(body.data),
        read_options=pyarrow.json.ReadOptions(use_threads=False),
        parse_options=pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
    lines = sum(1 for line in body.data.splitlines() if line.strip())
    if table.num_rows != lines:  # Arrow allows several objects on a line, and one over several lines
        raise ValueError("expected one JSON object per line")
    return table


def _seconds(arrival: Any, trace_format: TraceFormat) -> NDArray[np.float64]:
    if trace_format.clock != "date":
        seconds: NDArray[np.float64] = arrival.to_numpy()
        return seconds / 1000.0 if trace_format.clock == "ms" else seconds
    dates = pd.to_datetime(arrival.to_pandas(), format="ISO8601", utc=True).dt.tz_localize(None)
    nanoseconds = dates.to_numpy().astype("datetime64[ns]")
    if len(dates) == 0:
        return np.empty(0)
    return np.asarray((nanoseconds - nanoseconds.min()).astype(np.int64) / 1e9)


def _blame(body: _Body, reason: str) -> NoReturn:
    """Raise InputError for the first bad line; `reason` serves if no line alone is to blame."""
    f = body.format
    for where, row in _csv_lines(body) if f.lines == "csv" else _json_lines(body):
        checks = (
            (f.arrival, _arrival_problem(row[f.arrival], f)),
            (f.prompt, _tokens_problem(row[f.prompt], f, 1)),
            (f.output, _tokens_problem(row[f.output], f, 0)),
            *(((f.hashes, _hashes_problem(row.get(f.hashes), row[f.prompt], f)),) if f.hashes else ()),
        )
        for column, problem in checks:
            if problem:
                value = row[column]
                shown = shortened(value) if isinstance(value, str) else _shortened_json(value)
                raise InputError(f"{where}: {column} is {shown}, expected {problem}")
    raise InputError(f"{body.path}: {' '.join(reason.split())}")


def _csv_lines(body: _Body) -> Iterator[tuple[str, Mapping[str, object]]]:
    reader = csv.reader(io.StringIO(body.data.decode("utf-8")))
    try:
        for fields in reader:
            where = f"{body.path}, line {body.first_line + reader.line_num - 1}"
            if fields and len(fields) != len(body.columns):
                raise InputError(
                    f"{where}: {len(fields)} fields, expected {len(body.columns)} as in the header: "
                    f"{shortened(','.join(fields))}"
                )
            if fields:
                yield where, dict(zip(body.columns, fields, strict=True))
    except csv.Error as error:
        raise InputError(f"{body.path}, line {body.first_line + reader.line_num - 1}: {error}") from None


def _json_lines(body: _Body) -> Iterator[tuple[str, Mapping[str, object]]]:
    for number, line in enumerate(body.data.decode("utf-8").split("\n"), start=body.first_line):
        if line.strip():
            where = f"{body.path}, line {number}"
            row = json_object(line, where)
            missing = [column for column in body.format.columns if column not in row]
            if missing:
                raise InputError(f"{where}: no '{missing[0]}' in {shortened(line)}")
            yield where, row


def _number(value: object, trace_format: TraceFormat) -> float:
    """Return the number that a CSV field or a JSON value stands for; NaN if it is none."""
    if isinstance(value, str) and trace_format.lines == "csv":
        digits = value.strip(" \t")  # all that Arrow trims; str.strip() knows more kinds of space than float() does
        return float(digits) if _NUMBER.fullmatch(digits) else math.nan
    return value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _tokens_problem(value: object, trace_format: TraceFormat, least: int) -> str | None:
    number = _number(value, trace_format)
    fine = least <= number < _MOST_TOKENS and number == math.floor(number)
    return None if fine else f"a whole number of at least {least}"


def _hashes_problem(value: object, prompt_tokens: object, trace_format: TraceFormat) -> str | None:
    if value is None:
        return None
    size = trace_format.hashed_tokens
    fine = (
        isinstance(value, list)
        and all(isinstance(one, int) and not isinstance(one, bool) and abs(one) < 2**63 for one in value)
        and len(value) <= math.ceil(_number(prompt_tokens, trace_format) / size)
    )
    return None if fine else f"a list of whole numbers, one for each {size} tokens of the prompt"


def _shortened_json(value: object, most: int = 60) -> str:
    text = json.dumps(value)
    return text if len(text) <= most else text[:most] + "…"


def _arrival_problem(value: object, trace_format: TraceFormat) -> str | None:
    if trace_format.clock != "date":
        unit = {"s": "seconds", "ms": "milliseconds"}[trace_format.clock]
        return None if 0 <= _number(value, trace_format) < math.inf else f"{unit}, a number of at least 0"
    text = str(value)
    try:
        datetime.fromisoformat(text if _DATE.fullmatch(text) else "")
    except ValueError:
        return "a date and time such as 2023-11-16 18:15:46.6805900"
    return None
