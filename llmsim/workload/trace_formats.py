"""The trace formats that llmsim reads, and how to tell them apart by their first line.

| format | lines | arrival | prompt | output |
|---|---|---|---|---|
| azure | CSV with header | TIMESTAMP (ISO 8601 date and time) | ContextTokens | GeneratedTokens |
| mooncake | one JSON object per line | timestamp (ms) | input_length | output_length |
| | with hash_ids, if there: a number for each block of 512 tokens of the prompt | | | |
| csv | CSV with header | arrival_s | prompt_tokens | output_tokens |
| jsonl | one JSON object per line | arrival_s | prompt_tokens | output_tokens |

Further columns are ignored; the order of columns is free.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import Literal

from llmsim.errors import InputError, nearest

Lines = Literal["csv", "jsonl"]


@dataclass(frozen=True, slots=True)
class TraceFormat:
    """Names and units of the columns of one trace format."""

    name: str
    lines: Lines
    arrival: str
    prompt: str
    output: str
    clock: Literal["s", "ms", "date"]  #: unit of the arrival; dates count from the earliest in the file
    hashes: str | None = None  #: column that may name the blocks of the prompt, each with what is before it
    hashed_tokens: int = 0  #: tokens in such a block

    @property
    def columns(self) -> tuple[str, str, str]:
        """The columns that must be there."""
        return self.arrival, self.prompt, self.output


FORMATS = {
    f.name: f
    for f in (
        TraceFormat("azure", "csv", "TIMESTAMP", "ContextTokens", "GeneratedTokens", "date"),
        TraceFormat("mooncake", "jsonl", "timestamp", "input_length", "output_length", "ms", "hash_ids", 512),
        TraceFormat("csv", "csv", "arrival_s", "prompt_tokens", "output_tokens", "s"),
        TraceFormat("jsonl", "jsonl", "arrival_s", "prompt_tokens", "output_tokens", "s"),
    )
}


def choose_format(name: str, first_line: str, where: str) -> TraceFormat:
    """Return the format of this name, or for "auto" the one whose columns the first line has.

    Raises InputError, opened with `where`, for an unknown name or if a column is missing.
    """
    if name != "auto" and name not in FORMATS:
        raise InputError(f"unknown trace format '{name}'{nearest(name, ['auto', *FORMATS])}")
    lines, columns = first_columns(first_line, where)
    same_lines = [f for f in FORMATS.values() if f.lines == lines]
    candidates = same_lines if name == "auto" else [FORMATS[name]]
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
