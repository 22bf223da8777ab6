"""What is wrong with a trace's rows, line by line: slow, and only for a file that cannot be read."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from llmsim.errors import InputError
from llmsim.workload.trace_blocks import Block
from llmsim.workload.trace_clock import DATE, UNIT_NAMES, TraceClock
from llmsim.workload.trace_format import json_object, shortened
from llmsim.workload.trace_layout import Layout

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"\d+,\d+")
PlacedRow = tuple[str, Mapping[str, object]]  #: file and line, and the row
MOST_TOKENS = 2**53  # beyond it, a float no longer holds every whole number


def blame(path: Path, layout: Layout, clock: TraceClock, header: list[str], block: Block, reason: str) -> NoReturn:
    """Raise InputError for the first bad line of a block; `reason` serves if no line alone is to blame."""
    kinds: set[type] = set()  # of session ids, of which a file has one
    for where, row in (
        _csv_rows(path, layout, header, block) if layout.lines == "csv" else json_rows(path, layout, block)
    ):
        for column, problem in _problems(row, layout, clock):
            if problem:
                value = row.get(column)
                shown = shortened(value) if isinstance(value, str) else _shortened_json(value)
                comma = "; decimals have a point here" if _COMMA.fullmatch(str(value)) else ""
                raise InputError(f"{where}: {column} is {shown}, expected {problem}{comma}")
        kinds |= {type(row[key]) for key in (layout.session,) if key is not None and row.get(key) is not None}
        if len(kinds) > 1:
            raise InputError(f"{where}: {layout.session} is a text in one row and a number in another")
    raise InputError(f"{path}: {' '.join(reason.split())}")


def _problems(row: Mapping[str, object], layout: Layout, clock: TraceClock) -> Iterator[tuple[str, str | None]]:
    delayed = layout.delay is not None and row.get(layout.delay) not in (None, "")
    timed = row.get(layout.arrival) not in (None, "")
    if layout.timeless:
        yield layout.arrival, "no time of arrival, as in the first row" if timed else None
    elif timed or not delayed:
        yield layout.arrival, _arrival_problem(row[layout.arrival], layout, clock)
    yield layout.prompt, _tokens_problem(row[layout.prompt], layout, 1)
    yield layout.output, _tokens_problem(row[layout.output], layout, 0)
    for column in layout.quality:
        yield column, None if 0 <= _number(row[column], layout) <= 1 else "what an answer is worth, from 0 to 1"
    if layout.hashes is not None and layout.lines == "jsonl":
        yield layout.hashes, _hashes_problem(row.get(layout.hashes), row[layout.prompt], layout)
    if delayed:
        assert layout.delay is not None
        fine = 0 <= _number(row[layout.delay], layout) < math.inf
        yield layout.delay, None if fine else f"{UNIT_NAMES.get(clock.unit, 'seconds')}, a number of at least 0"
    if layout.session is not None:
        fine = isinstance(row.get(layout.session), str | int | None)
        yield layout.session, None if fine else "a text or a whole number, of one kind in all rows"


def first_row(path: Path, layout: Layout, header: list[str], block: Block) -> Mapping[str, object] | None:
    """Return the first row with data, or None if the block has none."""
    rows = _csv_rows(path, layout, header, block) if layout.lines == "csv" else json_rows(path, layout, block)
    return next((row for _, row in rows), None)


def _csv_rows(
    path: Path, layout: Layout, header: list[str], block: Block
) -> Iterator[tuple[str, Mapping[str, object]]]:
    reader = csv.reader(io.StringIO(block.data.decode("utf-8")), delimiter=layout.delimiter)
    try:
        for fields in reader:
            where = f"{path}, line {block.first_line + reader.line_num - 1}"
            if fields and len(fields) != len(header):
                raise InputError(
                    f"{where}: {len(fields)} fields, expected {len(header)} as in the header: "
                    f"{shortened(layout.delimiter.join(fields))}"
                )
            if fields:
                yield where, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}, line {block.first_line + reader.line_num - 1}: {error}") from None


def json_rows(path: Path, layout: Layout, block: Block) -> Iterator[PlacedRow]:
    """Yield the rows of JSON lines, each with its place."""
    for number, line in enumerate(block.data.decode("utf-8").split("\n"), start=block.first_line):
        if line.strip():
            where = f"{path}, {block.place(number)}"
            row = json_object(line, where)
            missing = [column for column in layout.columns if column not in row]
            delayed = layout.delay is not None and row.get(layout.delay) is not None
            if layout.arrival in missing and (delayed or layout.timeless):
                missing.remove(layout.arrival)
            if missing:
                raise InputError(f"{where}: no '{missing[0]}' in {shortened(line)}")
            yield where, row


def _number(value: object, layout: Layout) -> float:
    """Return the number that a CSV field or a JSON value stands for; NaN if it is none."""
    if isinstance(value, str) and layout.lines == "csv":
        digits = value.strip(" \t")  # all that Arrow trims; str.strip() knows more kinds of space than float() does
        return float(digits) if _NUMBER.fullmatch(digits) else math.nan
    return value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _tokens_problem(value: object, layout: Layout, least: int) -> str | None:
    number = _number(value, layout)
    fine = least <= number < MOST_TOKENS and number == math.floor(number)
    return None if fine else f"a whole number of at least {least}"


def _hashes_problem(value: object, prompt_tokens: object, layout: Layout) -> str | None:
    if value is None:
        return None
    size, tokens = layout.hashed_tokens, _number(prompt_tokens, layout)
    if not isinstance(value, list) or not all(isinstance(one, int) and not isinstance(one, bool) for one in value):
        return f"a list of whole numbers, one for each {size} tokens of the prompt"
    if value and not (max(value) < 2**64 and min(value) >= -(2**63) and (min(value) >= 0 or max(value) < 2**63)):
        return "a list of whole numbers of 64 bits, signed or not"
    if len(value) <= math.ceil(tokens / size):
        return None
    likely = 2 ** math.ceil(math.log2(tokens / len(value))) if tokens >= len(value) else 1
    return (
        f"a list of whole numbers, one for each {size} tokens of the prompt; {len(value)} for {tokens:.0f} tokens are "
        f"blocks of another size, such as workload.hash_block_tokens = {likely} (llmsim trace: --hash-block-tokens)"
    )


def _shortened_json(value: object, most: int = 60) -> str:
    text = json.dumps(value)
    return text if len(text) <= most else text[:most] + "…"


def _arrival_problem(value: object, layout: Layout, clock: TraceClock) -> str | None:
    if clock.unit != "date":
        return None if 0 <= _number(value, layout) < math.inf else f"{UNIT_NAMES[clock.unit]}, a number of at least 0"
    text = str(value)
    try:
        datetime.fromisoformat(text if DATE.fullmatch(text) else "")
    except ValueError:
        return "a date and time such as 2023-11-16 18:15:46.6805900"
    return None
