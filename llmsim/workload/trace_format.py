"""The contract of a trace format, and how to tell the formats apart by the first line of a file."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import ClassVar, Literal

from llmsim import discovery
from llmsim.errors import InputError, nearest

TRACE_FORMATS = "llmsim.workload.trace_formats"
Lines = Literal["csv", "jsonl"]


@dataclass(frozen=True)
class TraceFormat:
    """Names and units of the columns of one trace format; further columns are ignored, their order is free.

    One file with one subclass is all that a new format takes: in llmsim/workload/trace_formats/, or as an entry point
    of the group ``llmsim.workload.trace_formats``.
    """

    name: str  #: of the file or entry point

    lines: ClassVar[Lines]  #: CSV with a header, or one JSON object a line
    arrival: ClassVar[str]
    prompt: ClassVar[str]
    output: ClassVar[str]
    clock: ClassVar[Literal["s", "ms", "date"]] = "s"  #: unit of the arrival; dates count from the file's earliest
    hashes: ClassVar[str | None] = None  #: column that may name the blocks of the prompt, each with what is before it
    hashed_tokens: ClassVar[int] = 0  #: tokens in such a block

    @property
    def columns(self) -> tuple[str, str, str]:
        """The columns that must be there."""
        return self.arrival, self.prompt, self.output


def format_names() -> list[str]:
    """Return the names of the formats that can be found, those of installed packages included."""
    return discovery.names(TRACE_FORMATS)


def trace_format(name: str) -> TraceFormat:
    """Return the format of this name; InputError with the nearest one if there is none."""
    if name not in format_names():
        raise InputError(f"unknown trace format '{name}'{nearest(name, ['auto', *format_names()])}")
    return discovery.find(TRACE_FORMATS, name, TraceFormat)(name)


def choose_format(name: str, first_line: str, where: str) -> TraceFormat:
    """Return the format of this name, or for "auto" the one whose columns the first line has.

    Raises InputError, opened with `where`, for an unknown name or if a column is missing.
    """
    chosen = [trace_format(name)] if name != "auto" else [trace_format(each) for each in format_names()]
    lines, columns = first_columns(first_line, where)
    same_lines = [f for f in chosen if f.lines == lines]
    candidates = same_lines if name == "auto" else chosen
    best = max(candidates, key=lambda f: len(set(f.columns) & set(columns)))
    if best.lines != lines:
        raise InputError(f"{where}: this is {_KIND[lines]}, but format '{name}' is {_KIND[best.lines]}")
    missing = [column for column in best.columns if column not in columns]
    if len(missing) == len(best.columns) and name == "auto":
        known = " or ".join(f"{','.join(f.columns)} ({f.name})" for f in same_lines)
        raise InputError(f"{where}: not a known trace, starts with {shortened(first_line)}; expected {known}")
    if missing:
        found = shortened(", ".join(columns))
        raise InputError(f"{where}: no column '{missing[0]}', which format '{best.name}' needs; found {found}")
    twice = [column for column in best.columns if columns.count(column) > 1]
    if twice:
        raise InputError(f"{where}: column '{twice[0]}' is there twice")
    return best


_KIND = {"csv": "CSV", "jsonl": "JSON lines"}


def first_columns(first_line: str, where: str) -> tuple[Lines, list[str]]:
    """Return a file's kind of lines, and its columns: a CSV header's, or its first JSON object's keys."""
    if first_line.lstrip().startswith("{"):
        return "jsonl", list(json_object(first_line, where))
    try:
        return "csv", [column.strip() for column in next(csv.reader([first_line]))]
    except csv.Error as error:
        raise InputError(f"{where}: not a CSV header ({error}): {shortened(first_line)}") from None


def json_object(line: str, where: str) -> dict[str, object]:
    """Parse a line that must hold one JSON object; raise InputError, opened with `where`, if it does not."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: not complete JSON ({error.msg} at column {error.colno}): {shortened(line)}"
        ) from None
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected one JSON object per line, found {shortened(line)}")
    return value


def shortened(text: str, most: int = 60) -> str:
    """Return the text quoted, cut to fit a message."""
    text = text.strip("\r\n")
    return repr(text if len(text) <= most else text[:most] + "…")
