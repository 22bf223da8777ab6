"""The contract of a format of result files, and how the right one is found: by keys that only its tool writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from llmsim import discovery
from llmsim.errors import InputError, nearest
from llmsim.interop.document import Document, read_document
from llmsim.interop.measured import MeasuredResult
from llmsim.interop.place import short
from llmsim.interop.saving import Served

PACKAGE = "llmsim.interop.formats"
#: columns of traces, of which a result has at most one
LENGTHS = (
    {"prompt_tokens", "output_tokens"},
    {"input_length", "output_length"},
    {"ContextTokens", "GeneratedTokens"},
    {"num_prefill_tokens", "num_decode_tokens"},
)
LONGEST_KEY = 30  #: of one that a message names


class Format(ABC):
    """What one tool writes. A module in `llmsim.interop.formats`, or an entry point of that group, holds one."""

    tool: ClassVar[str]  #: its name, for messages

    @classmethod
    @abstractmethod
    def recognises(cls, document: Document) -> bool:
        """Whether the file holds keys that only this tool writes."""

    @classmethod
    @abstractmethod
    def read(cls, document: Document) -> list[MeasuredResult]:
        """All runs of the file. InputError names file, request and field of what makes it useless."""


class Savable(Format):
    """A format in which a simulated run can be saved, as if its tool had measured it."""

    @classmethod
    @abstractmethod
    def text(cls, served: Served, file: Path) -> str:
        """What the tool would write into a file of that name: read again, it tells the same numbers."""


def savable(name: str) -> type[Savable]:
    """The format of that name, if runs can be saved in it; InputError otherwise."""
    found = {one: kind for one, kind in formats() if issubclass(kind, Savable)}
    if name not in found:
        raise InputError(f"--save-as {name}=…: unknown format{nearest(name, found)}")
    return found[name]


def formats() -> Iterator[tuple[str, type[Format]]]:
    """Every format by name."""
    for name in discovery.names(PACKAGE):
        yield name, _named(name)


def read_runs(path: Path | str, kind: str | None = None) -> list[MeasuredResult]:
    """Read all runs of a file, of this format or of the one whose keys it holds.

    InputError names the file, and what is wrong in it; or the keys of one that no format knows.
    """
    document = read_document(Path(path))
    found = _recognised(document) if kind is None else _named(kind)
    runs = found.read(document)
    if not runs:
        raise InputError(f"{path}: {found.tool}: holds no runs")
    return [
        replace(run, run=i, runs=len(runs), notes=(*document.notes, *run.notes)) for i, run in enumerate(runs, start=1)
    ]


def read_measured(path: Path | str, run: int | None = None, kind: str | None = None) -> MeasuredResult:
    """Read one run of a file; `run` counts from 1, and is needed where there are several."""
    runs = read_runs(path, kind)
    if run is None and len(runs) > 1:
        raise InputError(f"{path}: holds {len(runs)} runs; say which: --run 1 to --run {len(runs)}, or --run all")
    return choose(path, runs, run)


def choose(path: Path | str, runs: list[MeasuredResult], run: int | None) -> MeasuredResult:
    """Return run number `run` (from 1; left out: the first); InputError where there is no such one."""
    if not 1 <= (run or 1) <= len(runs):
        raise InputError(f"{path}: --run {run}: expected 1 to {len(runs)}")
    return runs[(run or 1) - 1]


def _named(name: str) -> type[Format]:
    return discovery.find(PACKAGE, name, Format)


def _recognised(document: Document) -> type[Format]:
    for _, one in formats():
        if one.recognises(document):
            return one
    keys = [" ".join(str(key).split())[:LONGEST_KEY] for key in document.whole or document.first]
    has = f"its keys are {', '.join(keys[:6])}" if keys else f"it begins with {short(document.value)}"
    if any(pair <= set(keys) for pair in LENGTHS):
        raise InputError(f"{document.path}: lengths of requests and no results: a trace? llmsim trace show reads those")
    known = ", ".join(one.tool for _, one in formats())
    raise InputError(f"{document.path}: {document.written_in} that no tool known here writes ({has}); known: {known}")
