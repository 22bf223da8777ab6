"""Traces that are no rows, made into JSON lines: arrays, and records of which a `RecordFormat` makes rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from llmsim.errors import InputError
from llmsim.reading import MIB, MOST_BYTES, parse_json
from llmsim.workload.trace_blocks import Block
from llmsim.workload.trace_format import (
    Placed,
    RecordFormat,
    format_names,
    json_object,
    shortened,
    trace_format,
)
from llmsim.workload.trace_layout import AUTO, TraceOptions
from llmsim.workload.trace_text import token_counter

_ROWS_OF_A_BLOCK = 10_000


@dataclass(frozen=True, slots=True)
class Lines:
    """The blocks of a trace of which rows can be read, and what was left out on the way."""

    blocks: Iterator[Block]
    options: TraceOptions  #: as given; with the format, where it is one of records
    left_out: Counter[str] = field(default_factory=Counter)  #: why -> how many; whole once all blocks are read

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, in words."""
        return tuple(f"{number} {why} left out" for why, number in self.left_out.items())


def as_lines(path: Path, options: TraceOptions, source: Iterator[Block]) -> Lines:
    """Make rows of what are none; a file of rows stays as it is. InputError names what is wrong, and where."""
    start, source = _start(source)
    if not start.startswith((b"{", b"[")):
        return _plain(path, options, source)
    whole, source = _whole(path, start, source)
    if whole is None:
        return _lines(path, options, start, source)
    form = _form(options, whole[0][1])
    if form is None:
        return replace(_plain(path, options, source), blocks=_written(iter(whole)))
    return _rows(path, options, form, whole)


def _plain(path: Path, options: TraceOptions, source: Iterator[Block]) -> Lines:
    _refuse_counting(path, options)
    return Lines(source, options)


def _lines(path: Path, options: TraceOptions, start: bytes, source: Iterator[Block]) -> Lines:
    """JSON lines: as they are, or each as a record."""
    line = start.partition(b"\n")[0].decode("utf-8")
    form = _form(options, json_object(line, f"{path}, line 1")) if _is_object(line) else None
    if form is None:
        return _plain(path, options, source)
    texts = (
        (block.place(number), line)
        for block in source
        for number, line in enumerate(block.data.decode("utf-8").split("\n"), start=block.first_line)
    )
    records = ((place, json_object(line, f"{path}, {place}")) for place, line in texts if line.strip())
    return _rows(path, options, form, records)


def _rows(path: Path, options: TraceOptions, form: RecordFormat, records: Iterable[Placed]) -> Lines:
    if options.columns:
        raise InputError(f"{path}: columns are of files of rows; format '{form.name}' has its own")
    if not form.reads_text:
        _refuse_counting(path, options)
    lines = Lines(iter(()), replace(options, format=form.name))
    rows = _kept(path, form.rows(records, token_counter(options)), lines.left_out)
    return replace(lines, blocks=_some(path, _written(rows), lines))


def _refuse_counting(path: Path, options: TraceOptions) -> None:
    for name in ("tokens_per_character", "tokenizer"):
        if getattr(options, name) is not None:
            raise InputError(f"{path}: has numbers of tokens, so that workload.{name} counts nothing; leave it out")


def _kept(path: Path, rows: Iterator[Placed], left_out: Counter[str]) -> Iterator[Placed]:
    try:
        for place, row in rows:
            if isinstance(row, str):
                left_out[row] += 1
            else:
                yield place, row
    except InputError as error:
        message = str(error)
        raise error if message.startswith(str(path)) else InputError(f"{path}, {message}") from None


def _some(path: Path, blocks: Iterator[Block], lines: Lines) -> Iterator[Block]:
    """The blocks; InputError where there are none, with what was left out."""
    first = next(blocks, None)
    if first is None:
        raise InputError(f"{path}: no requests in it{''.join(f'; {note}' for note in lines.notes)}")
    yield first
    yield from blocks


def _written(rows: Iterator[Placed]) -> Iterator[Block]:
    """Rows as lines of JSON, in blocks that know where in the file each comes from."""
    number = 1
    while some := list(islice(rows, _ROWS_OF_A_BLOCK)):
        data = "".join(json.dumps(row) + "\n" for _, row in some).encode()
        yield Block(data, number, tuple(place for place, _ in some))
        number += len(some)


def _form(options: TraceOptions, first: Any) -> RecordFormat | None:
    """The format of records that the options name, or that the first record has; None: they are rows."""
    if options.format != AUTO:
        named = trace_format(options.format)
        return named if isinstance(named, RecordFormat) else None
    forms = (trace_format(name) for name in format_names())
    return next((one for one in forms if isinstance(one, RecordFormat) and one.recognises(first)), None)


def _start(source: Iterator[Block]) -> tuple[bytes, Iterator[Block]]:
    """The first block with text in it, without the space before it, and all blocks from that one on."""
    for block in source:
        if start := block.data.lstrip():
            return start, chain([block], source)
    return b"", iter(())


def _whole(path: Path, start: bytes, source: Iterator[Block]) -> tuple[list[Placed] | None, Iterator[Block]]:
    """The records of an array, or the one object that the file is over several lines; None: it is neither."""
    if start.startswith(b"{") and _is_object(start.partition(b"\n")[0].decode("utf-8")):
        return None, source
    kept, size = [], 0
    for block in source:
        kept.append(block)
        size += len(block.data)
        if size > MOST_BYTES and start.startswith(b"["):
            raise InputError(f"{path}: a JSON array of more than {MOST_BYTES // MIB} MiB, expected at most that")
        if size > MOST_BYTES:
            return None, chain(kept, source)
    text = b"".join(block.data for block in kept).decode("utf-8")
    try:
        value = parse_json(text, str(path))
    except ValueError as error:
        if start.startswith(b"["):
            raise InputError(f"{path}: a JSON array that is not complete ({error}): {shortened(text)}") from None
        return None, iter(kept)
    if isinstance(value, dict):
        return [("record 1", value)], iter(())
    records = [(f"record {number}", one) for number, one in enumerate(value, start=1)]
    if not records:
        raise InputError(f"{path}: no requests in it")
    odd = next(((place, one) for place, one in records if not isinstance(one, dict)), None)
    if odd is not None:
        raise InputError(f"{path}, {odd[0]}: expected a JSON object, found {shortened(json.dumps(odd[1]))}")
    return records, iter(())


def _is_object(line: str) -> bool:
    try:
        return isinstance(parse_json(line, "a record"), dict)
    except (ValueError, InputError):
        return False
