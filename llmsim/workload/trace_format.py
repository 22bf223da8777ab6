"""The contract of a trace format."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar, Literal

from llmsim import discovery
from llmsim.errors import InputError, nearest

TRACE_FORMATS = "llmsim.workload.trace_formats"
Lines = Literal["csv", "jsonl"]
Clock = Literal["s", "ms", "us", "ns", "date"]


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
    clock: ClassVar[Clock] = "s"  #: unit of the arrival; dates count from the file's earliest
    hashes: ClassVar[str | None] = None  #: column that may name the blocks of the prompt, each with what is before it
    hashed_tokens: ClassVar[int] = 0  #: tokens in such a block
    session: ClassVar[str | None] = None  #: column that may name the conversation of a request
    delay: ClassVar[str | None] = None  #: column that may say how long after the turn before a turn comes, as `clock`
    marks: ClassVar[tuple[str, ...]] = ()  #: columns that tell the format from others with the same three

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
