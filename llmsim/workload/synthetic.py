"""Synthetic workloads: an arrival process and a length source, joined."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from llmsim import discovery
from llmsim.errors import InputError, nearest
from llmsim.workload.arrival_process import ArrivalProcess
from llmsim.workload.contract import Workload
from llmsim.workload.length_source import LengthSource
from llmsim.workload.streams import Streams

ARRIVALS, LENGTHS = "llmsim.workload.arrivals", "llmsim.workload.lengths"
P = TypeVar("P")


def synthesize(
    streams: Streams,
    *,
    requests: int,
    arrivals: ArrivalProcess,
    lengths: LengthSource,
    source: str = "synthetic",
) -> Workload:
    """Draw a workload from the streams `arrivals` and `lengths`, which it uses up: fresh streams for each.

    Another rate leaves the lengths as they are; fewer requests are the first of more.
    """
    prompt_tokens, output_tokens = lengths.tokens(streams.lengths, requests)
    return Workload(arrivals.times_s(streams.arrivals, requests), prompt_tokens, output_tokens, source)


def find_arrivals(process: str) -> type[ArrivalProcess]:
    """Find an arrival process by its name; InputError with the nearest one if there is none."""
    return discovery.find(ARRIVALS, process, ArrivalProcess)


def find_lengths(source: str) -> type[LengthSource]:
    """Find a length source by its name; InputError with the nearest one if there is none."""
    return discovery.find(LENGTHS, source, LengthSource)


def arrival_process(process: str, **options: object) -> ArrivalProcess:
    """Return the named process with these options; InputError for a wrong name or option."""
    return _made(f"arrival process '{process}'", find_arrivals(process), options)


def length_source(source: str, **options: object) -> LengthSource:
    """Return the named source with these options; InputError for a wrong name or option."""
    return _made(f"length source '{source}'", find_lengths(source), options)


def _made(what: str, kind: type[P], options: dict[str, object]) -> P:
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for option in options:
        if option not in fields:
            raise InputError(f"{what} has no option '{option}'{nearest(option, fields)}")
    for name, field in fields.items():
        if name not in options and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"{what} needs the option '{name}'")
    return kind(**options)
