"""Numbers, intervals and names as short text, the same in tables, pictures and pages."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from llmsim.metrics.kpi import Kpi
from llmsim.statistics import Interval

NOTHING = "–"
MOST_DECIMALS = 6
#: relative; an interval this narrow is one of equal values, but for rounding
ROUNDING = 1e-12
#: share of an interval's length by which its middle may be beside the estimate and ± still be said
LOPSIDED = 0.1
#: letters that a line of a narrow column takes, if no word is longer
LINE_LETTERS = 10


def number_text(value: float | str | None) -> str:
    """Three significant digits or all before the point; whole numbers in full; words as they are."""
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return value
    if isinstance(value, int) or 100 <= abs(value) < 1e12:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def share_text(share: float | None) -> str:
    """A share in percent."""
    return NOTHING if share is None else f"{100 * share:.2f} %"


def kpi_text(kpi: Kpi, value: float | None, unit: str | None = None) -> str:
    """A KPI's value with the unit that tables show; `unit` stands for it where there is a shorter word."""
    if kpi.unit == "share":
        return share_text(value)
    shown = None if value is None else value * kpi.factor
    return f"{number_text(shown)} {kpi.shown_unit if unit is None else unit}".rstrip()


def digits_text(value: float, *, signed: bool = False) -> str:
    """Three significant digits, or all before the point; differences are `signed`, unless they are none."""
    sign = "+" if signed and value else ""
    return f"{value:{sign},.0f}" if abs(value) >= 1000 else f"{value:{sign}.3g}"


def interval_text(interval: Interval | None, *, signed: bool = False) -> str:
    """An estimate and half of its interval, to the first digit that it is not sure of; differences are `signed`.

    The ends instead of the half where one is much farther away than the other.
    """
    if interval is None:
        return NOTHING
    estimate, half, sign = interval.estimate, interval.half_width, "+" if signed else ""
    if not math.isfinite(half):
        return digits_text(estimate, signed=signed)
    if half <= ROUNDING * abs(estimate):
        return "0" if estimate == 0 else f"{digits_text(estimate, signed=signed)} ± 0"
    decimals = min(max(0, -math.floor(math.log10(half))), MOST_DECIMALS)
    text = f"{estimate:{sign},.{decimals}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")  # nothing is left of it, nor of its sign
    if abs(interval.low + interval.high - 2 * estimate) > LOPSIDED * 2 * half:
        return f"{text} ({interval.low:{sign},.{decimals}f} to {interval.high:{sign},.{decimals}f})"
    return f"{text} ± {half:,.{decimals}f}"


def percent_text(percent: float) -> str:
    """A difference in percent, with its sign unless no digit of it shows."""
    return "0.0" if abs(percent) < 0.05 else f"{percent:+.1f}"


def value_text(value: Any) -> str:
    """A value of a scenario: numbers and words as they are, tables as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def broken(name: str, line: int = LINE_LETTERS) -> str:
    """Break a long name into lines of so many letters, so that it takes no more room than it needs; not numbers."""
    lines = [""]
    for word in re.split(r"(?<=[_/])|(?<=[.-])(?=[^\W\d])", name):
        if len(lines[-1]) + len(word) > line and lines[-1]:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


def short_fields(fields: Sequence[str]) -> list[str]:
    """Short names of fields: as many last parts as tell them apart, without `name`, which says nothing alone."""
    parts = [field.removesuffix(".name").split(".") for field in fields]
    found = []
    for own in parts:
        tails = (own[-n:] for n in range(1, len(own) + 1))
        found.append(".".join(next((t for t in tails if sum(p[-len(t) :] == t for p in parts) == 1), own)))
    return found
