"""The rows of a trace file: parsed at Arrow's speed; if anything is wrong, line by line to name the place."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.reading import MOST_REQUESTS
from llmsim.workload.prefixes import Prefixes, chained
from llmsim.workload.trace_blame import MOST_TOKENS, blame, first_row
from llmsim.workload.trace_blocks import FIRST_BYTES, MOST_BYTES, Block, blocks
from llmsim.workload.trace_clock import TraceClock, check_epoch, check_milliseconds, clock_of, nanoseconds, shift_note
from llmsim.workload.trace_layout import Layout, TraceOptions, choose_layout
from llmsim.workload.trace_records import as_lines


@dataclass(frozen=True, eq=False)
class Rows:
    """Requests as the file has them, in its order; all arrays have shape (rows,)."""

    format: str
    arrival_s: NDArray[np.float64]  #: on the trace's own clock; NaN: so long after the turn before
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]  #: 0 where the log has a request without output
    prefixes: Prefixes | None = None  #: None where the file has no hashes
    session: NDArray[np.int64] | None = None  #: number of the conversation; None where the file has none
    delay_s: NDArray[np.float64] | None = None  #: from the end of the turn before; NaN: not told
    models: tuple[str, ...] = ()  #: of which `quality` tells what answers are worth
    quality: NDArray[np.float64] | None = None  #: (rows, models); None: not asked for
    notes: tuple[str, ...] = ()  #: what the reader took for granted
    timeless: bool = False  #: whether the file has no times, so that all are 0

    def __len__(self) -> int:
        return len(self.arrival_s)

    def take(self, index: NDArray[Any]) -> Rows:
        """Select rows by number or by mask."""
        return replace(
            self,
            arrival_s=self.arrival_s[index],
            prompt_tokens=self.prompt_tokens[index],
            output_tokens=self.output_tokens[index],
            prefixes=None if self.prefixes is None else self.prefixes.take(np.arange(len(self))[index]),
            session=None if self.session is None else self.session[index],
            delay_s=None if self.delay_s is None else self.delay_s[index],
            quality=None if self.quality is None else self.quality[index],
        )


@dataclass(frozen=True, slots=True)
class Need:
    """How much of a trace is asked for: the file is read as far as that, if the rows so far are in order of time."""

    end_s: float = np.inf  #: on the trace's own clock
    start_s: float = 0.0
    limit: int | None = None  #: requests with output from start_s on

    @property
    def all(self) -> bool:
        """Whether no row may be left unread."""
        return self.limit is None and self.end_s == np.inf


@dataclass(frozen=True, eq=False, slots=True)
class _Part:
    """The rows of a block; times in the file's unit."""

    arrival: NDArray[Any]
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    hashes: tuple[NDArray[Any], NDArray[np.int64]] | None  #: of all rows in a line, and how many each has
    session: list[Any] | None
    delay: NDArray[np.float64] | None
    quality: NDArray[np.float64] | None = None  #: (rows, models)


class _Enough:
    """Whether the rows so far hold all that is needed: nothing that comes later can be earlier, as far as is seen."""

    def __init__(self, need: Need, clock: TraceClock, base: float) -> None:
        self._need, self._clock, self._base = need, clock, base
        self._found, self._last_s, self._ordered = 0, -np.inf, not need.all

    def after(self, part: _Part) -> bool:
        """Count a block; True if no further one is needed."""
        if not self._ordered or len(part.arrival) == 0:
            return False
        times_s = self._clock.seconds(part.arrival, self._base)
        self._ordered = bool(times_s[0] >= self._last_s and (np.diff(times_s) >= 0).all())
        self._last_s = float(times_s[-1])
        self._found += int(((times_s >= self._need.start_s) & (part.output_tokens > 0)).sum())
        enough = self._need.limit is not None and self._found >= self._need.limit
        return self._ordered and (enough or self._last_s >= self._need.end_s)


def read_rows(path: Path, options: TraceOptions, need: Need) -> Rows:
    """Read the rows of a trace, plain or gzipped, as far as needed; InputError naming file, line and field."""
    lines = as_lines(path, options, blocks(path, MOST_BYTES if need.all else FIRST_BYTES))
    layout, header, body = _open(path, lines.options, lines.blocks)
    clock, body = _clock(path, layout, header, body)
    parts: list[_Part] = []
    enough: _Enough | None = None
    taken = 0
    for block in body:
        parts.append(_parse(path, layout, clock, header, block))
        taken += len(parts[-1].arrival)
        if taken > MOST_REQUESTS:
            raise InputError(
                f"{path}: more than {MOST_REQUESTS:,} requests, expected at most that; workload.limit takes the first"
            )
        if enough is None and len(parts[-1].arrival):
            enough = _Enough(need, clock, float(parts[-1].arrival.min()) if clock.shifts else 0.0)
        if enough is not None and enough.after(parts[-1]) and all(part.session is None for part in parts):
            break
    if sum(len(part.arrival) for part in parts) == 0:
        raise InputError(f"{path}: no requests after the header")
    rows = _joined(path, layout, clock, parts)
    return replace(rows, notes=(*lines.notes, *rows.notes), models=tuple(options.quality))


def _open(path: Path, options: TraceOptions, source: Iterator[Block]) -> tuple[Layout, list[str], Iterator[Block]]:
    """Choose the layout by the first line with text; return it, a CSV's header, and the blocks of the rows."""
    for block in source:
        start = len(block.data) - len(block.data.lstrip())
        if start < len(block.data):
            break
    else:
        raise InputError(f"{path}: the file is empty")
    number = block.first_line + block.data.count(b"\n", 0, start)
    end = block.data.find(b"\n", start) + 1 or len(block.data)
    head = block.data[start:end].decode("utf-8")
    layout, columns = choose_layout(options, head, f"{path}, {block.place(number)}")
    if layout.lines == "jsonl":
        skipped = block.places[number - block.first_line :]
        return layout, [], chain([Block(block.data[start:], number, skipped)], source)
    return layout, columns, chain([Block(block.data[end:], number + 1)], source)


def _clock(path: Path, layout: Layout, header: list[str], body: Iterator[Block]) -> tuple[TraceClock, Iterator[Block]]:
    """Tell the clock by the first row; return it and the blocks of all rows."""
    seen: list[Block] = []
    for block in body:
        seen.append(block)
        if (row := first_row(path, layout, header, block)) is not None:
            where = f"{path}, {block.place(block.first_line)}"
            return clock_of(layout, row.get(layout.arrival), where), chain(seen, body)
    return clock_of(layout, None, str(path)), iter(seen)


def _parse(path: Path, layout: Layout, clock: TraceClock, header: list[str], block: Block) -> _Part:
    try:
        if not block.data.strip():
            return _Part(np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64), None, None, None)
        table = _csv_table(layout, clock, header, block) if layout.lines == "csv" else _json_table(layout, clock, block)
        return _part(layout, clock, table)
    except (pa.ArrowInvalid, ValueError) as error:
        blame(path, layout, clock, header, block, str(error))


def _csv_table(layout: Layout, clock: TraceClock, header: list[str], block: Block) -> Any:
    types = dict.fromkeys(layout.columns, pa.float64())
    if clock.unit == "date":
        types[layout.arrival] = pa.string()
    if layout.session is not None:
        types[layout.session] = pa.string()
    if layout.delay is not None:
        types[layout.delay] = pa.float64()
    return pyarrow.csv.read_csv(
        io.BytesIO(block.data),
        read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=header),
        parse_options=pyarrow.csv.ParseOptions(delimiter=layout.delimiter),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            include_missing_columns=layout.timeless,
            null_values=[""] if layout.delay else [],
        ),
    )


def _json_table(layout: Layout, clock: TraceClock, block: Block) -> Any:
    error: Exception = ValueError("no rows")
    # ids are numbers of 64 bits, signed or not, or texts: Arrow takes one kind a column, in most files the first
    for hashes in (pa.int64(), pa.uint64()) if layout.hashes else (None,):
        for session in (pa.string(), pa.int64()) if layout.session else (None,):
            try:
                return _json_table_of(layout, clock, block, hashes, session)
            except pa.ArrowInvalid as caught:
                error = caught
    raise error


def _json_table_of(layout: Layout, clock: TraceClock, block: Block, hashes: Any, session: Any) -> Any:
    fields = {column: pa.float64() for column in layout.columns}
    if clock.unit == "date":
        fields[layout.arrival] = pa.string()
    if layout.hashes is not None:
        fields[layout.hashes] = pa.list_(hashes)
    if layout.session is not None:
        fields[layout.session] = session
    if layout.delay is not None:
        fields[layout.delay] = pa.float64()
    table = pyarrow.json.read_json(
        io.BytesIO(block.data),
        read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=max(len(block.data), 1)),
        parse_options=pyarrow.json.ParseOptions(
            explicit_schema=pa.schema(list(fields.items())), unexpected_field_behavior="ignore"
        ),
    )
    lines = sum(1 for line in block.data.splitlines() if line.strip())
    if table.num_rows != lines:  # Arrow allows several objects on a line, and one over several lines
        raise ValueError("expected one JSON object per line")
    return table


def _part(layout: Layout, clock: TraceClock, table: Any) -> _Part:
    """Take the columns out of a table; ValueError if a value is out of range."""
    delay = None if layout.delay is None else table[layout.delay].to_numpy()
    if delay is not None and np.isnan(delay).all():
        delay = None
    arrival = _no_times(table[layout.arrival]) if layout.timeless else _times(table[layout.arrival], clock)
    untimed = np.zeros(len(arrival), dtype=np.bool_) if delay is None else np.isnan(arrival) & ~np.isnan(delay)
    if not ((np.isfinite(arrival) & ((arrival >= 0) | (clock.unit == "date"))) | untimed).all():
        raise ValueError("arrival times out of range")
    if delay is not None and (delay < 0).any() | np.isinf(delay).any():
        raise ValueError("delays out of range")
    tokens = []
    for column, least in ((layout.prompt, 1), (layout.output, 0)):
        counts = table[column].to_numpy()
        if not ((counts >= least) & (counts < MOST_TOKENS) & (counts == np.floor(counts))).all():
            raise ValueError("token counts out of range")
        tokens.append(counts.astype(np.int64))
    hashes = _hashes(table, tokens[0], layout)
    named = layout.session is not None and table[layout.session].null_count < table.num_rows
    session = table[layout.session].to_pylist() if named else None
    return _Part(arrival, tokens[0], tokens[1], hashes, session, delay, _quality(layout, table))


def _quality(layout: Layout, table: Any) -> NDArray[np.float64] | None:
    """What the answers of models are worth, (rows, models); ValueError if one is not between 0 and 1."""
    if not layout.quality:
        return None
    worth = np.column_stack([table[column].to_numpy() for column in layout.quality])
    if not ((worth >= 0) & (worth <= 1)).all():
        raise ValueError("what answers are worth is out of range")
    return worth


def _no_times(column: Any) -> NDArray[np.float64]:
    """Zeros; ValueError if a row has a time all the same."""
    if column.null_count < len(column):
        raise ValueError("a time of arrival where the first row has none")
    return np.zeros(len(column))


def _times(column: Any, clock: TraceClock) -> NDArray[Any]:
    if clock.unit != "date":
        return np.asarray(column.to_numpy())
    if column.null_count == 0:
        return nanoseconds(column)
    times = np.full(len(column), np.nan)
    given = np.asarray(column.is_valid())
    if given.any():
        times[given] = nanoseconds(column.drop_null())
    return times


def _hashes(table: Any, prompt_tokens: NDArray[np.int64], layout: Layout) -> Any:
    """Return the hashes of a block and how many each row has, or None; ValueError if more than fit the prompt."""
    if layout.hashes is None or layout.lines == "csv" or table[layout.hashes].null_count == table.num_rows:
        return None
    lists = table[layout.hashes].combine_chunks()
    counts = lists.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    if lists.flatten().null_count or (counts > np.ceil(prompt_tokens / layout.hashed_tokens)).any():
        raise ValueError("hashes that do not fit the prompt")
    return lists.flatten().to_numpy(), counts


def _joined(path: Path, layout: Layout, clock: TraceClock, parts: list[_Part]) -> Rows:
    arrival = np.concatenate([part.arrival for part in parts if len(part.arrival)])
    if np.isnan(arrival).all():
        raise InputError(f"{path}: no request has a {layout.arrival}")
    base = float(np.nanmin(arrival)) if clock.shifts else 0.0
    check_epoch(layout, clock, base, str(path))
    arrival_s = clock.seconds(arrival, np.nanmin(arrival) if clock.shifts else 0)
    timed_s = arrival_s[~np.isnan(arrival_s)]
    notes = (
        clock.inferred,
        shift_note(clock, base),
        check_milliseconds(layout, clock, timed_s, str(path)),
        _larger_blocks(layout, parts),
        f"no times in it (no column '{layout.arrival}')" if layout.timeless else "",
    )
    session, delay_s = _sessions(clock, parts)
    prompt_tokens = np.concatenate([part.prompt_tokens for part in parts])
    return Rows(
        layout.name,
        arrival_s,
        prompt_tokens,
        np.concatenate([part.output_tokens for part in parts]),
        _prefixes(layout, parts, prompt_tokens),
        session,
        delay_s,
        quality=np.concatenate([part.quality for part in parts if part.quality is not None])
        if layout.quality
        else None,
        notes=tuple(note for note in notes if note),
        timeless=layout.timeless,
    )


def _sessions(clock: TraceClock, parts: list[_Part]) -> tuple[NDArray[np.int64] | None, NDArray[np.float64] | None]:
    """Number the conversations in order of the file; a row without one is one of its own."""
    names = [name for part in parts for name in part.session or [None] * len(part.arrival)]
    if all(name is None or name == "" for name in names):
        return None, None
    numbers: dict[Any, int] = {}
    of_row = [
        numbers.setdefault((row,) if name in (None, "") else name, len(numbers)) for row, name in enumerate(names)
    ]
    per_s = 1.0 if clock.unit == "date" else clock.seconds(np.ones(1), 0.0)[0]
    delays = [np.full(len(part.arrival), np.nan) if part.delay is None else part.delay for part in parts]
    return np.array(of_row, dtype=np.int64), np.concatenate(delays) * per_s


def _larger_blocks(layout: Layout, parts: list[_Part]) -> str:
    """Say if hashes are as many as blocks of two or more times the size would be, in all rows that have some."""
    hashed = [(part.hashes[1], part.prompt_tokens) for part in parts if part.hashes is not None]
    if not hashed:
        return ""
    counts, tokens = (np.concatenate(column) for column in zip(*hashed, strict=True))
    counts, tokens = counts[counts > 0], tokens[counts > 0]
    size = layout.hashed_tokens
    if len(counts) == 0 or (counts == np.ceil(tokens / size)).all():
        return ""
    larger = (size * 2**power for power in range(1, 9))
    fits = next((each for each in larger if (counts == np.ceil(tokens / each)).all()), None)
    return "" if fits is None else f"hash_ids read as {size} tokens each look like {fits} (workload.hash_block_tokens)"


def _prefixes(layout: Layout, parts: list[_Part], prompt_tokens: NDArray[np.int64]) -> Prefixes | None:
    """Return what the hashes of a trace say of prompts that begin alike, or None if it has no hashes."""
    if all(part.hashes is None for part in parts):
        return None
    size = layout.hashed_tokens
    none = [(np.empty(0, np.int64), np.zeros(len(part.arrival), np.int64)) for part in parts]
    given = [empty if part.hashes is None else part.hashes for part, empty in zip(parts, none, strict=True)]
    counts = np.concatenate([each[1] for each in given])
    start = np.concatenate([[0], np.cumsum(counts)])
    place = np.arange(start[-1]) - np.repeat(start[:-1], counts)
    ends = np.minimum((place + 1) * size, np.repeat(prompt_tokens, counts)).astype(np.int64)
    hashes = [one for each in given for one in each[0].tolist()]
    names = chained(hashes[a:b] for a, b in pairwise(start.tolist()))
    return Prefixes(np.array(names, dtype=np.int64), ends, start)
