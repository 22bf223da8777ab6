"""Which requests a rate counts, and over what time T it divides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llmsim.errors import InputError, nearest
from llmsim.metrics.ranges import Bools
from llmsim.record import Timelines

KINDS = ("arrivals", "makespan")
#: arrivals that take less than this share of the run are a burst: hardly anything leaves while they last
LEAST_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Window:
    """`arrivals`: requests that arrive in [start_s, end_s] (left out: first to last arrival), T its length.

    `makespan`: all requests, T from the first arrival to the last end; depends on the policy, as benchmarks
    do it. The arrival window is the same for every policy: give start_s and end_s to leave out warm-up and
    drain. Without these, requests that arrive in a burst (`LEAST_SHARE`) have no arrival window: they get the makespan.
    """

    kind: Literal["arrivals", "makespan"] = "arrivals"
    start_s: float | None = None
    end_s: float | None = None
    #: T of a makespan that was measured otherwise, as benchmarks do it; NaN: not known, and then there are no rates
    duration_s: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"window.kind: unknown '{self.kind}'{nearest(self.kind, KINDS)}")
        for name, bound in (("start_s", self.start_s), ("end_s", self.end_s)):
            if bound is not None and not math.isfinite(bound):
                raise InputError(f"window.{name}: expected seconds, got {bound!r}")
        if self.kind == "makespan" and (self.start_s is not None or self.end_s is not None):
            raise InputError("window: start_s and end_s belong to kind 'arrivals', not to 'makespan'")
        if self.duration_s is not None and (self.kind != "makespan" or self.duration_s <= 0):
            raise InputError(f"window.duration_s: expected more than 0, of a makespan; got {self.duration_s!r}")
        if self.start_s is not None and self.end_s is not None and self.end_s <= self.start_s:
            raise InputError(f"window.end_s: expected more than start_s = {self.start_s}, got {self.end_s}")


ARRIVALS = Window()


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """A window applied to a run: which requests count, and from when to when (seconds)."""

    kind: str
    start_s: float
    end_s: float
    counted: Bools  #: (N,)

    @property
    def duration_s(self) -> float:
        """T."""
        return self.end_s - self.start_s


def resolve(window: Window, timelines: Timelines) -> Span:
    """Apply `window`; an arrival window without length, or of a burst, becomes the makespan.

    InputError where there are requests, and none of them arrives in the window: nothing could be said.
    """
    arrival_s = timelines.arrival_s
    if len(arrival_s) == 0:
        return Span(window.kind, 0.0, 0.0, np.zeros(0, np.bool_))
    first_s = float(arrival_s.min()) if window.start_s is None else window.start_s
    last_s = float(arrival_s.max()) if window.end_s is None else window.end_s
    counted = (arrival_s >= first_s) & (arrival_s <= last_s)
    if not counted.any():
        asked = f"from {first_s:g} s on" if window.end_s is None else f"from {first_s:g} to {last_s:g} s"
        raise InputError(
            f"window: no request arrives {asked}; arrivals are from {arrival_s.min():g} to {arrival_s.max():g} s"
        )
    if window.kind == "arrivals" and last_s > first_s and not _burst(window, timelines, last_s - first_s):
        return Span("arrivals", first_s, last_s, counted)
    end_s = run_end_s(timelines) if window.duration_s is None else first_s + window.duration_s
    return Span("makespan", first_s, end_s, np.ones(len(arrival_s), np.bool_))


def _burst(window: Window, timelines: Timelines, length_s: float) -> bool:
    """Whether all arrivals take so little of the run that rates over them would mean nothing."""
    whole = window.start_s is None and window.end_s is None
    return whole and length_s < LEAST_SHARE * (run_end_s(timelines) - float(timelines.arrival_s.min()))


def run_end_s(timelines: Timelines) -> float:
    """When the last request left the system or got its last token; 0 without requests."""
    return float(timelines.end_s.max()) if len(timelines) else 0.0


def per_second(amount: float, span: Span) -> float:
    """`amount` / T; NaN where T is 0."""
    return amount / span.duration_s if span.duration_s > 0 else float("nan")
