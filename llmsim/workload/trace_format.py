"""The contract of a trace format."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from llmsim import discovery
from llmsim.errors import InputError
from llmsim.reading import parse_json

TRACE_FORMATS = "llmsim.workload.trace_formats"
Lines = Literal["csv", "jsonl"]
Clock = Literal["s", "ms", "us", "ns", "date"]
#: tokens of a text: by a share of its characters, or by a tokenizer
CountTokens = Callable[[str], int]
Placed = tuple[str, Any]  #: where in a file something is, and what is there


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


class RecordFormat(TraceFormat, ABC):
    """A format whose records are no rows: rows of its columns are made of them, in Python.

    Records are JSON objects: one a line, the entries of an array, or the one that the file is.
    """

    lines = "jsonl"
    reads_text: ClassVar[bool] = False  #: whether records hold texts, whose tokens are to be counted

    @classmethod
    @abstractmethod
    def recognises(cls, record: Mapping[str, Any]) -> bool:
        """Whether a file whose first record this is has the format."""

    @classmethod
    @abstractmethod
    def rows(cls, records: Iterable[Placed], count: CountTokens) -> Iterator[Placed]:
        """Each row with its place, in order; for what is no request of a model a text, why it is left out.

        Raises InputError, which begins with the place, for a record that is not as it should be.
        """


def format_names() -> list[str]:
    """Return the names of the formats that can be found, those of installed packages included."""
    return discovery.names(TRACE_FORMATS)


def trace_format(name: str) -> TraceFormat:
    """Return the format of this name; InputError with the nearest one if there is none."""
    return discovery.find(TRACE_FORMATS, name, TraceFormat)(name)


def json_object(line: str, where: str) -> dict[str, object]:
    """Parse a line that must hold one JSON object; raise InputError, opened with `where`, if it does not."""
    try:
        value = parse_json(line, where)
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
