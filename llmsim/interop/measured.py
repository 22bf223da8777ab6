"""Measured results as timelines, and the checks that every reader of them shares."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmsim.errors import InputError, nearest
from llmsim.metrics.window import ARRIVALS, Window
from llmsim.record import Floats, Timelines
from llmsim.request import Outcome

LARGEST_S = 1e12  #: beyond any clock; what is larger is not a time in seconds


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What a file of measured results holds. Times count from the first arrival."""

    timelines: Timelines
    window: Window  #: that its rates are to be divided by
    source: str  #: format, and what had to be assumed


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a file a value stands, for messages."""

    file: Path
    where: str  #: such as "request 7"

    def error(self, field: str, problem: str) -> InputError:
        """One line: file, request, field, problem."""
        return InputError(f"{self.file}: {self.where}, {field}: {problem}")

    def number(self, field: str, value: Any) -> float:
        """A finite number, seconds."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(field, f"expected a number of seconds, got {_short(value)}")
        if abs(value) > LARGEST_S or math.isnan(value):
            raise self.error(field, f"expected a finite number of seconds, got {_short(value)}")
        return float(value)

    def not_negative(self, field: str, value: Any) -> float:
        """A finite number of seconds, 0 or more."""
        if (number := self.number(field, value)) < 0:
            raise self.error(field, f"expected 0 or more seconds, got {number}")
        return number

    def numbers(self, field: str, value: Any) -> Floats:
        """A list of finite numbers; the message names the first that is none."""
        if not isinstance(value, list):
            raise self.error(field, f"expected a list of seconds, got {_short(value)}")
        # One pass in C for the usual case; the slow one only to name the culprit.
        if all(type(x) is float or type(x) is int for x in value):
            with contextlib.suppress(OverflowError):
                out = np.array(value, dtype=np.float64)
                if (np.abs(out) <= LARGEST_S).all():
                    return out
        return np.array([self.number(f"{field}[{i}]", x) for i, x in enumerate(value)])

    def count(self, field: str, value: Any) -> int:
        """A whole number, 0 or more."""
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.error(field, f"expected a whole number, 0 or more, got {_short(value)}")
        return value


def read_json(path: Path) -> Any:
    """Parse a JSON file; InputError with line and column where it is cut off or malformed."""
    text = read_text(path)
    return parse_json(text, str(path))


def parse_json(text: str, where: str) -> Any:
    """Parse JSON text; InputError that begins with `where` if it is cut off or malformed."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as e:
        place = f"line {e.lineno} column {e.colno}"
        raise InputError(f"{where}: {place}: not valid JSON ({e.msg}); is the file complete?") from None
    except (RecursionError, ValueError) as e:
        raise InputError(f"{where}: not valid JSON ({type(e).__name__})") from None


def read_text(path: Path) -> str:
    """Read a UTF-8 text file; InputError where that is not possible."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror or e})") from None
    except UnicodeDecodeError as e:
        raise InputError(f"{path}: byte {e.start}: not UTF-8 text") from None


def outcome_named(place: Place, value: Any) -> Outcome:
    """Outcome from its lower-case name."""
    known = [outcome.name.lower() for outcome in Outcome]
    if value not in known:
        raise place.error("outcome", f"unknown {_short(value)}{nearest(str(value), known)}")
    return Outcome[str(value).upper()]


def client_timelines(file: Path, bench: dict[str, Any]) -> tuple[Timelines, bool]:
    """Build timelines from what a benchmark client saved per request; also, whether it saved the send times.

    Fields, one entry per request: `ttfts` (s), `itls` (lists, s), `output_lens`, and where present
    `input_lens`, `start_times` (s, any clock), `errors` (text, empty if none). Token i + 1 comes itls[i]
    after token i. A request with an error counts as abandoned by the server after the tokens it got.
    """
    for key in ("ttfts", "itls", "output_lens"):
        if key not in bench:
            raise InputError(f"{file}: '{key}' is missing; was the run saved with details per request?")
    n = len(_list(file, bench, "ttfts", None))
    ttfts, itls, output_lens = (_list(file, bench, key, n) for key in ("ttfts", "itls", "output_lens"))
    errors = _list(file, bench, "errors", n) if bench.get("errors") is not None else [""] * n
    dated = bench.get("start_times") is not None
    starts = _list(file, bench, "start_times", n) if dated else [0.0] * n
    prompts = _list(file, bench, "input_lens", n) if bench.get("input_lens") is not None else [0] * n
    start_s = np.array([Place(file, f"request {i}").number("start_times", x) for i, x in enumerate(starts)])
    if n:
        start_s -= start_s.min()
    tokens = [
        start_s[i] + _token_offsets_s(Place(file, f"request {i}"), ttfts[i], itls[i], output_lens[i], bool(errors[i]))
        for i in range(n)
    ]
    asked = [
        max(len(t), Place(file, f"request {i}").count("output_lens", output_lens[i])) for i, t in enumerate(tokens)
    ]
    timelines = Timelines.from_token_times(
        start_s,
        tokens,
        outcome=[Outcome.ABANDONED if errors[i] else Outcome.FINISHED for i in range(n)],
        prompt_tokens=[Place(file, f"request {i}").count("input_lens", prompts[i]) for i in range(n)],
        output_tokens=asked,
    )
    return timelines, dated


def client_window(file: Path, timelines: Timelines, dated: bool, duration: Any) -> Window:
    """Window for rates: that of the arrivals, or the run's duration where no send times were saved."""
    if dated or duration is None:
        return ARRIVALS
    seconds = Place(file, "the run").number("duration", duration)
    return Window(start_s=0.0, end_s=seconds) if seconds > 0 else ARRIVALS


def _token_offsets_s(place: Place, ttft: Any, itls: Any, output_len: Any, failed: bool) -> Floats:
    """Token times after the send, from the first gap on."""
    n = place.count("output_lens", output_len)
    gaps_s = place.numbers("itls", itls)
    if (gaps_s < 0).any():
        i = int(np.argmax(gaps_s < 0))
        raise place.error(f"itls[{i}]", f"negative gap of {gaps_s[i]} s")
    if failed:
        # What a failed request has delivered is in its gaps; its length is not to be trusted.
        first_s = 0.0 if ttft is None else place.not_negative("ttfts", ttft)
        n = len(gaps_s) + 1 if first_s > 0 else 0
    else:
        first_s = place.not_negative("ttfts", ttft) if n else 0.0
        if len(gaps_s) != max(n - 1, 0):
            raise place.error("itls", f"{len(gaps_s)} gaps for {n} output tokens, expected {max(n - 1, 0)}")
    return np.cumsum(np.concatenate([[first_s], gaps_s]))[:n]


def _list(file: Path, bench: dict[str, Any], key: str, n: int | None) -> list[Any]:
    value = bench[key]
    if not isinstance(value, list):
        raise InputError(f"{file}: {key}: expected a list with one entry per request, got {_short(value)}")
    if n is not None and len(value) != n:
        raise InputError(
            f"{file}: {key}: {len(value)} entries, but ttfts has {n}; request {min(len(value), n)} is cut off"
        )
    return value


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."
