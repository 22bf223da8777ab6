"""The columns of one trace file: those of a format, told apart by the first line, or those that the user names."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from llmsim.errors import InputError, nearest
from llmsim.workload.arguments import whole
from llmsim.workload.trace_blocks import FIRST_BYTES, blocks
from llmsim.workload.trace_format import (
    Clock,
    Lines,
    RecordFormat,
    TraceFormat,
    format_names,
    json_object,
    shortened,
    trace_format,
)

#: what a column can stand for, as `workload.columns` names it -> field of a layout
COLUMN_KEYS = {
    "arrival": "arrival",
    "prompt_tokens": "prompt",
    "output_tokens": "output",
    "hash_ids": "hashes",
    "session_id": "session",
    "delay": "delay",
}
TIME_UNITS = get_args(Clock)
#: what the prompts of later turns are: all that the model reads, or what is new, after all that came before
Turns = Literal["whole", "new"]
AUTO = "auto"  #: the format that the file seems to have
#: between the fields of CSV
DELIMITERS = ",;\t|"
#: tokens in a block of hash_ids where neither format nor user says, as in Mooncake's traces
DEFAULT_HASHED_TOKENS = 512


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """How to read a trace, beyond what it says itself: `format`, `columns`, … of [workload]."""

    format: str = AUTO
    columns: Mapping[str, str] = field(default_factory=dict)  #: of COLUMN_KEYS -> name in the file
    time_unit: str | None = None  #: of TIME_UNITS; None: as the format has it
    hash_block_tokens: int | None = None  #: tokens for each of hash_ids; None: as the format has it
    turns: Turns = "whole"
    tokens_per_character: float | None = None  #: of texts; None: their tokens are not counted so
    tokenizer: str | None = None  #: the file of one, for texts
    quality: Mapping[str, str] = field(default_factory=dict)  #: model -> column with what its answers are worth

    def __post_init__(self) -> None:
        for key in self.columns:
            if key not in COLUMN_KEYS:
                raise InputError(f"columns: unknown '{key}'{nearest(key, COLUMN_KEYS)}")
        if self.time_unit is not None and self.time_unit not in TIME_UNITS:
            raise InputError(f"unknown time_unit '{self.time_unit}'; expected one of {', '.join(TIME_UNITS)}")
        if self.hash_block_tokens is not None:
            whole("hash_block_tokens", self.hash_block_tokens)
        if self.turns not in get_args(Turns):
            raise InputError(f"turns = '{self.turns}'; expected one of {', '.join(get_args(Turns))}")
        if self.tokens_per_character is not None and self.tokenizer is not None:
            raise InputError("tokens_per_character and tokenizer exclude each other; give one")


@dataclass(frozen=True, slots=True)
class TimeUnit:
    """The unit of a file's times, and by what it is known."""

    clock: Clock  #: the user's, or else that of the format
    stated: bool  #: the user has said it
    of_format: bool  #: arrivals are in the column that the format has for them

    @property
    def known(self) -> bool:
        """Whether it needs no guess: a format says nothing of a column that the user has named."""
        return self.stated or self.of_format


@dataclass(frozen=True, slots=True)
class Layout:
    """Names and units of the columns of one file."""

    name: str  #: of the format
    lines: Lines
    arrival: str
    prompt: str
    output: str
    times: TimeUnit
    hashes: str | None
    hashed_tokens: int
    session: str | None
    delay: str | None
    marks: tuple[str, ...]
    delimiter: str = ","  #: of CSV
    timeless: bool = False  #: whether the file has no times of arrival
    quality: tuple[str, ...] = ()  #: columns with what the answers of models are worth

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that must be there."""
        return self.arrival, self.prompt, self.output, *self.quality

    def of_file(self, present: list[str], delimiter: str) -> Layout:
        """Leave out the optional columns that the file lacks; a JSON row may have them although the first does not."""
        this = replace(self, delimiter=delimiter, timeless=self.arrival not in present)
        return this if self.lines == "jsonl" else this._only_with(present)

    def _only_with(self, present: list[str]) -> Layout:
        hashes, session, delay = (each if each in present else None for each in (self.hashes, self.session, self.delay))
        return replace(self, hashes=hashes, session=session, delay=delay)


def layout_of(form: TraceFormat, options: TraceOptions) -> Layout:
    """The columns of a format, but for those that the user names."""
    named = {COLUMN_KEYS[key]: column for key, column in options.columns.items()}
    own = {name: getattr(form, name) for name in COLUMN_KEYS.values()}
    clock: Clock = options.time_unit or form.clock  # type: ignore[assignment]
    return Layout(
        name=form.name,
        lines=form.lines,
        **(own | named),
        times=TimeUnit(clock, options.time_unit is not None, "arrival" not in named),
        hashed_tokens=options.hash_block_tokens or form.hashed_tokens or DEFAULT_HASHED_TOKENS,
        marks=form.marks,
        quality=tuple(options.quality.values()),
    )


def choose_layout(options: TraceOptions, first_line: str, where: str) -> tuple[Layout, list[str]]:
    """Return the columns to read, and all that the first line has.

    They are those of the format that the options name, or for "auto" of the one that has most in common with the line.
    Raises InputError, opened with `where`, for an unknown name or if a column is missing.
    """
    name = options.format
    chosen = [trace_format(each) for each in (format_names() if name == AUTO else [name])]
    layouts = [layout_of(form, options) for form in chosen if name != AUTO or not isinstance(form, RecordFormat)]
    lines, columns, delimiter = first_columns(first_line, where)
    same_lines = [each for each in layouts if each.lines == lines]
    fitting = [each for each in same_lines if set(each.marks) <= set(columns)]
    best = max(fitting if name == AUTO else layouts, key=lambda each: _in_common(each, columns))
    if best.lines != lines:
        raise InputError(f"{where}: this is {_KIND[lines]}, but format '{name}' is {_KIND[best.lines]}")
    _check_named(options, best, columns, where)
    missing = [column for column in best.columns if column not in columns]
    if missing == [best.arrival]:
        missing = []  # a trace of lengths alone
    if len(missing) == len(best.columns) and name == AUTO:
        raise InputError(f"{where}: {_unknown(first_line, fitting)}")
    if missing:
        found = shortened(", ".join(columns))
        raise InputError(
            f"{where}: no column '{missing[0]}', which format '{best.name}' needs; found {found}; another name is "
            f"told with workload.columns = {{ {_key_of(best, missing[0])} = NAME }}"
        )
    if twice := [column for column in best.columns if columns.count(column) > 1]:
        raise InputError(f"{where}: column '{twice[0]}' is there twice")
    return best.of_file(columns, delimiter), columns


def _in_common(layout: Layout, columns: list[str]) -> tuple[int, int, int, bool]:
    """How many columns it needs that are there, how many marks and optional ones it has, and whether it is plain."""
    present = set(columns)
    optional = {layout.hashes, layout.session, layout.delay} & present
    return len(set(layout.columns) & present), len(layout.marks), len(optional), layout.name == layout.lines


def _check_named(options: TraceOptions, layout: Layout, columns: list[str], where: str) -> None:
    """Demand that every column that the user names is there; optional ones may come later in JSON lines."""
    optional = ("hash_ids", "session_id", "delay") if layout.lines == "jsonl" else ()
    for key, column in options.columns.items():
        if key not in optional and column not in columns:
            raise InputError(f"{where}: no column '{column}', which columns.{key} names{nearest(column, columns)}")


def _key_of(layout: Layout, column: str) -> str:
    return next(key for key, name in COLUMN_KEYS.items() if getattr(layout, name) == column)


def _unknown(first_line: str, layouts: list[Layout]) -> str:
    known = " or ".join(f"{','.join(each.columns)} ({each.name})" for each in layouts)
    hint = "its columns are told with workload.columns = { arrival = NAME, prompt_tokens = NAME, output_tokens = NAME }"
    return f"not a known trace, starts with {shortened(first_line)}; expected {known}; {hint}"


_KIND = {"csv": "CSV", "jsonl": "JSON lines"}


def first_columns(first_line: str, where: str) -> tuple[Lines, list[str], str]:
    """Return a file's kind of lines, its columns (a CSV header's, or its first JSON object's keys), and the delimiter.

    The delimiter is the one that makes most columns of the header.
    """
    if first_line.lstrip().startswith("{"):
        return "jsonl", list(json_object(first_line, where)), ","
    try:
        rows = {mark: next(csv.reader([first_line], delimiter=mark)) for mark in DELIMITERS}
    except csv.Error as error:
        raise InputError(f"{where}: not a CSV header ({error}): {shortened(first_line)}") from None
    delimiter = max(DELIMITERS, key=lambda mark: len(rows[mark]))
    return "csv", [column.strip() for column in rows[delimiter]], delimiter


def layout_of_file(path: Path, options: TraceOptions) -> Layout | None:
    """Return the columns of a file of rows by its first line; None where they cannot be told."""
    try:
        first = next(blocks(path, FIRST_BYTES)).data.lstrip().partition(b"\n")[0]
        return choose_layout(options, first.decode("utf-8"), str(path))[0]
    except (InputError, StopIteration):
        return None
