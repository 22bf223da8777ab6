"""Where in a file a value stands, and the checks that every reader shares: one clear line for what is wrong."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmsim.errors import InputError, nearest
from llmsim.record import Floats
from llmsim.request import Outcome

LARGEST_S = 1e12  #: beyond any clock; what is larger is not a time in seconds
LARGEST_TOKENS = 10**9  #: beyond any answer; what is larger is not a number of tokens


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a file a value stands, for messages."""

    file: Path
    where: str  #: such as "request 7"

    def error(self, field: str, problem: str) -> InputError:
        """One line: file, request, field, problem."""
        return InputError(f"{self.file}: {self.where}, {field}: {problem}")

    def table(self, field: str, value: Any) -> Mapping[str, Any]:
        """A mapping."""
        if not isinstance(value, Mapping):
            raise self.error(field, f"expected an object, got {short(value)}")
        return value

    def number(self, field: str, value: Any) -> float:
        """A finite number, seconds."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(field, f"expected a number of seconds, got {short(value)}")
        if abs(value) > LARGEST_S or math.isnan(value):
            raise self.error(field, f"expected a finite number of seconds, got {short(value)}")
        return float(value)

    def not_negative(self, field: str, value: Any) -> float:
        """A finite number of seconds, 0 or more."""
        if (number := self.number(field, value)) < 0:
            raise self.error(field, f"expected 0 or more seconds, got {number}")
        return number

    def numbers(self, field: str, value: Any) -> Floats:
        """A list of finite numbers; the message names the first that is none."""
        if not isinstance(value, list):
            raise self.error(field, f"expected a list of seconds, got {short(value)}")
        # One pass in C for the usual case; the slow one only to name the culprit.
        if all(type(x) is float or type(x) is int for x in value):
            with contextlib.suppress(OverflowError):
                out = np.array(value, dtype=np.float64)
                if (np.abs(out) <= LARGEST_S).all():
                    return out
        return np.array([self.number(f"{field}[{i}]", x) for i, x in enumerate(value)])

    def gaps(self, field: str, value: Any) -> Floats:
        """A list of times between, none of them negative."""
        gaps_s = self.numbers(field, value)
        if (gaps_s < 0).any():
            i = int(np.argmax(gaps_s < 0))
            raise self.error(f"{field}[{i}]", f"negative gap of {gaps_s[i]} s")
        return gaps_s

    def nanoseconds(self, field: str, value: Any) -> float:
        """A time stamp in nanoseconds, as seconds: since 1970, doubles tell apart a quarter of a microsecond."""
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9 * LARGEST_S:
            raise self.error(field, f"expected nanoseconds, got {short(value)}")
        return self.number(field, value / 1e9)

    def ascending(self, field: str, times_s: Floats) -> Floats:
        """Times after the sending: none before it, none before the one that it follows."""
        if len(times_s) and (np.diff(times_s, prepend=0.0) < 0).any():
            raise self.error(field, "times go backwards, or begin before the sending")
        return times_s

    def count(self, field: str, value: Any) -> int:
        """A whole number, 0 or more."""
        whole = isinstance(value, float) and value.is_integer() and value <= LARGEST_TOKENS
        if isinstance(value, bool) or not (isinstance(value, int) or whole) or not 0 <= value <= LARGEST_TOKENS:
            raise self.error(field, f"expected a whole number, 0 or more, got {short(value)}")
        return int(value)

    def outcome(self, value: Any) -> Outcome:
        """Outcome from its lower-case name."""
        known = [outcome.name.lower() for outcome in Outcome]
        if value not in known:
            raise self.error("outcome", f"unknown {short(value)}{nearest(str(value), known)}")
        return Outcome[str(value).upper()]


def short(value: Any) -> str:
    """A value as JSON, cut where it is long."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."


def known_number(value: Any) -> float | None:
    """A finite number, also where it is written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    with contextlib.suppress(ValueError, OverflowError):
        number = float(value)
        if math.isfinite(number):
            return number
    return None
