"""Measured timelines, simplest form: a JSON list of {arrival_s, token_times_s, optional end_s, outcome}.

Times are absolute seconds on one clock. Optional as well: prompt_tokens, output_tokens (asked for). Left
out, `end_s` is the last token (or the arrival), and `outcome` is finished with a token, unfinished without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmsim.errors import InputError, nearest
from llmsim.interop.document import Document
from llmsim.interop.format import Format
from llmsim.interop.measured import MeasuredResult
from llmsim.interop.place import Place
from llmsim.metrics.window import ARRIVALS
from llmsim.record import Floats
from llmsim.record import Timelines as Times
from llmsim.request import Outcome

NEEDED = ("arrival_s", "token_times_s")
KEYS = (*NEEDED, "end_s", "outcome", "prompt_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class _Entry:
    arrival_s: float
    token_times_s: Floats
    end_s: float
    outcome: Outcome
    prompt_tokens: int
    output_tokens: int


class Timelines(Format):
    """llmsim's own, for tools that it does not know: nothing is guessed, what is wrong is refused."""

    tool = "timelines"

    @classmethod
    def recognises(cls, document: Document) -> bool:
        """A list whose first object has one of the two keys that are needed."""
        return document.written_in == "JSON" and bool(set(NEEDED) & document.first.keys())

    @classmethod
    def read(cls, document: Document) -> list[MeasuredResult]:
        """One run. InputError names file, request and field of the first thing that is wrong."""
        entries = document.value
        if not isinstance(entries, list):
            raise InputError(f"{document.path}: expected a list of requests, got {type(entries).__name__}")
        if not entries:
            raise InputError(f"{document.path}: holds no requests")
        parsed = [_entry(Place(document.path, f"request {i}"), entry) for i, entry in enumerate(entries)]
        zero_s = min(e.arrival_s for e in parsed)
        times = Times.from_token_times(
            [e.arrival_s - zero_s for e in parsed],
            [e.token_times_s - zero_s for e in parsed],
            end_s=[e.end_s - zero_s for e in parsed],
            outcome=[e.outcome for e in parsed],
            prompt_tokens=[e.prompt_tokens for e in parsed],
            output_tokens=[e.output_tokens for e in parsed],
        )
        return [MeasuredResult("timelines", times, ARRIVALS)]


def _entry(place: Place, entry: Any) -> _Entry:
    if not isinstance(entry, dict):
        raise InputError(f"{place.file}: {place.where}: expected an object, got {type(entry).__name__}")
    for key in entry:
        if key not in KEYS:
            raise place.error(key, f"unknown key{nearest(key, KEYS)}")
    for key in NEEDED:
        if key not in entry:
            raise place.error(key, "is missing")
    arrival_s = place.number("arrival_s", entry["arrival_s"])
    times_s = place.numbers("token_times_s", entry["token_times_s"])
    _check_order(place, arrival_s, times_s)
    last_s = float(times_s[-1]) if len(times_s) else arrival_s
    end_s = last_s if entry.get("end_s") is None else place.number("end_s", entry["end_s"])
    if end_s < last_s:
        raise place.error("end_s", f"{end_s} s is before the last token (or the arrival) at {last_s} s")
    outcome = Outcome.FINISHED if len(times_s) else Outcome.UNFINISHED
    if entry.get("outcome") is not None:
        outcome = place.outcome(entry["outcome"])
    if outcome == Outcome.REJECTED and len(times_s):
        raise place.error("outcome", f"rejected, but has {len(times_s)} tokens")
    asked = place.count("output_tokens", entry.get("output_tokens", len(times_s)))
    if asked < len(times_s):
        raise place.error("output_tokens", f"{asked}, but {len(times_s)} were delivered")
    return _Entry(
        arrival_s, times_s, end_s, outcome, place.count("prompt_tokens", entry.get("prompt_tokens", 0)), asked
    )


def _check_order(place: Place, arrival_s: float, times_s: Floats) -> None:
    gaps_s = np.diff(times_s, prepend=arrival_s)
    if (gaps_s < 0).any():
        i = int(np.argmax(gaps_s < 0))
        before = f"token {i - 1}" if i else "the arrival"
        raise place.error(f"token_times_s[{i}]", f"negative gap: {-gaps_s[i]:g} s before {before}")
