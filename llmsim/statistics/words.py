"""An interval as short text, the same in tables, pictures and pages."""

from __future__ import annotations

import math

from llmsim.statistics.intervals import Interval

MOST_DECIMALS = 6
#: relative; an interval this narrow is one of equal values, but for rounding
ROUNDING = 1e-12


def in_short(interval: Interval | None, *, signed: bool = False) -> str:
    """An estimate and half of its interval, to the first digit that it is not sure of; differences are `signed`."""
    if interval is None:
        return "–"
    estimate, half, sign = interval.estimate, interval.half_width, "+" if signed else ""
    if not math.isfinite(half):
        return _digits(estimate, sign)
    if half <= ROUNDING * abs(estimate):
        return "0" if estimate == 0 else f"{_digits(estimate, sign)} ± 0"
    decimals = min(max(0, -math.floor(math.log10(half))), MOST_DECIMALS)
    text = f"{estimate:{sign},.{decimals}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")  # nothing is left of it, nor of its sign
    return f"{text} ± {half:,.{decimals}f}"


def _digits(value: float, sign: str) -> str:
    if abs(value) >= 1000:
        return f"{value:{sign},.0f}"
    return "0" if value == 0 else f"{value:{sign}.3g}"
