"""The columns of one trace file: those of a format, told apart by the first line, or those that the user names."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

from llmsim.errors import InputError, nearest
from llmsim.workload.arguments import whole
from llmsim.workload.trace_format import Clock, Lines, TraceFormat, format_names, json_object, shortened, trace_format

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
#: tokens in a block of hash_ids where neither format nor user says, as in Mooncake's traces
DEFAULT_HASHED_TOKENS = 512


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """How to read a trace, beyond what it says itself: `format`, `columns`, … of [workload]."""

    format: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)  #: of COLUMN_KEYS -> name in the file
    time_unit: str | None = None  #: of TIME_UNITS; None: as the format has it
    hash_block_tokens: int | None = None  #: tokens for each of hash_ids; None: as the format has it

    def __post_init__(self) -> None:
        for key in self.columns:
            if key not in COLUMN_KEYS:
                raise InputError(f"columns: unknown '{key}'{nearest(key, COLUMN_KEYS)}")
        if self.time_unit is not None and self.time_unit not in TIME_UNITS:
            raise InputError(f"unknown time_unit '{self.time_unit}'; expected one of {', '.join(TIME_UNITS)}")
        if self.hash_block_tokens is not None:
            whole("hash_block_tokens", self.hash_block_tokens)


@dataclass(frozen=True, slots=True)
class Layout:
    """Names and units of the columns of one file."""

    name: str  #: of the format
    lines: Lines
    arrival: str
    prompt: str
    output: str
    clock: Clock
    unit_stated: bool  #: whether the user has said the unit
    arrival_mapped: bool  #: whether the user has named the column of arrivals
    hashes: str | None
    hashed_tokens: int
    session: str | None
    delay: str | None
    marks: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, str, str]:
        """The columns that must be there."""
        return self.arrival, self.prompt, self.output

    def only_with(self, present: list[str]) -> Layout:
        """Leave out the optional columns that the file lacks; a JSON row may have them although the first does not."""
        if self.lines == "jsonl":
            return self
        hashes, session, delay = (each if each in present else None for each in (self.hashes, self.session, self.delay))
        return replace(self, hashes=hashes, session=session, delay=delay)


def layout_of(form: TraceFormat, options: TraceOptions) -> Layout:
    """The columns of a format, but for those that the user names."""
    named = {COLUMN_KEYS[key]: column for key, column in options.columns.items()}
    own = {name: getattr(form, name) for name in COLUMN_KEYS.values()}
    return Layout(
        name=form.name,
        lines=form.lines,
        **(own | named),
        clock=options.time_unit or form.clock,  # type: ignore[arg-type]
        unit_stated=options.time_unit is not None,
        arrival_mapped="arrival" in named,
        hashed_tokens=options.hash_block_tokens or form.hashed_tokens or DEFAULT_HASHED_TOKENS,
        marks=form.marks,
    )


def choose_layout(options: TraceOptions, first_line: str, where: str) -> tuple[Layout, list[str]]:
    """Return the columns to read, and all that the first line has.

    They are those of the format that the options name, or for "auto" of the one that has most in common with the line.
    Raises InputError, opened with `where`, for an unknown name or if a column is missing.
    """
    name = options.format
    chosen = [trace_format(each) for each in (format_names() if name == "auto" else [name])]
    layouts = [layout_of(form, options) for form in chosen]
    lines, columns = first_columns(first_line, where)
    same_lines = [each for each in layouts if each.lines == lines]
    fitting = [each for each in same_lines if set(each.marks) <= set(columns)]
    best = max(fitting if name == "auto" else layouts, key=lambda each: _in_common(each, columns))
    if best.lines != lines:
        raise InputError(f"{where}: this is {_KIND[lines]}, but format '{name}' is {_KIND[best.lines]}")
    _check_named(options, best, columns, where)
    missing = [column for column in best.columns if column not in columns]
    if len(missing) == len(best.columns) and name == "auto":
        raise InputError(f"{where}: {_unknown(first_line, fitting)}")
    if missing:
        found = shortened(", ".join(columns))
        raise InputError(
            f"{where}: no column '{missing[0]}', which format '{best.name}' needs; found {found}; another name is "
            f"told with workload.columns = {{ {_key_of(best, missing[0])} = NAME }}"
        )
    if twice := [column for column in best.columns if columns.count(column) > 1]:
        raise InputError(f"{where}: column '{twice[0]}' is there twice")
    return best.only_with(columns), columns


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
    if '"conversations"' in first_line:
        hint = 'conversations as text (ShareGPT) have no times or tokens; workload.lengths.source = "sharegpt" has some'
    elif first_line.lstrip().startswith("["):
        hint = "a JSON array is not read; write one object a line (jq -c '.[]' FILE), each with a time of arrival"
    return f"not a known trace, starts with {shortened(first_line)}; expected {known}; {hint}"


_KIND = {"csv": "CSV", "jsonl": "JSON lines"}


def first_columns(first_line: str, where: str) -> tuple[Lines, list[str]]:
    """Return a file's kind of lines, and its columns: a CSV header's, or its first JSON object's keys."""
    if first_line.lstrip().startswith("{"):
        return "jsonl", list(json_object(first_line, where))
    try:
        return "csv", [column.strip() for column in next(csv.reader([first_line]))]
    except csv.Error as error:
        raise InputError(f"{where}: not a CSV header ({error}): {shortened(first_line)}") from None
