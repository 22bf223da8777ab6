"""Synthetic workloads: an arrival process and a length source, joined."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import numpy as np

from llmsim.errors import InputError, nearest
from llmsim.workload.arrivals import PROCESSES, Times
from llmsim.workload.contract import Workload
from llmsim.workload.lengths import SOURCES, Lengths
from llmsim.workload.streams import Streams

ArrivalProcess = Callable[[np.random.Generator, int], Times]
LengthSource = Callable[[np.random.Generator, int], Lengths]
Drawn = TypeVar("Drawn")


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
    prompt_tokens, output_tokens = lengths(streams.lengths, requests)
    return Workload(arrivals(streams.arrivals, requests), prompt_tokens, output_tokens, source)


def arrival_process(process: str, **options: object) -> ArrivalProcess:
    """Return the named one of `arrivals.PROCESSES`, options bound; InputError for a wrong name or option."""
    return _bound("arrival process", PROCESSES, process, options)


def length_source(source: str, **options: object) -> LengthSource:
    """Return the named one of `lengths.SOURCES`, options bound; InputError for a wrong name or option."""
    return _bound("length source", SOURCES, source, options)


def _bound(
    kind: str, known: Mapping[str, Callable[..., Drawn]], name: str, options: Mapping[str, object]
) -> Callable[[np.random.Generator, int], Drawn]:
    if name not in known:
        raise InputError(f"unknown {kind} '{name}'{nearest(name, known)}")
    parameters = inspect.signature(known[name]).parameters.values()
    free = {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    allowed = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    for option in options:
        if option not in allowed:
            raise InputError(f"{kind} '{name}' has no option '{option}'{nearest(option, allowed)}")
    missing = [option for option in free if option not in options]
    if missing:
        raise InputError(f"{kind} '{name}' needs the option '{missing[0]}'")
    return partial(known[name], **options)
