"""Numbers and intervals as short text, the same in tables, pictures and pages."""

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
        return digits(estimate, signed=signed)
    if half <= ROUNDING * abs(estimate):
        return "0" if estimate == 0 else f"{digits(estimate, signed=signed)} ± 0"
    decimals = min(max(0, -math.floor(math.log10(half))), MOST_DECIMALS)
    text = f"{estimate:{sign},.{decimals}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")  # nothing is left of it, nor of its sign
    return f"{text} ± {half:,.{decimals}f}"


def digits(value: float, *, signed: bool = False) -> str:
    """Three significant digits, or all before the point; differences are `signed`, unless they are none."""
    sign = "+" if signed and value else ""
    return f"{value:{sign},.0f}" if abs(value) >= 1000 else f"{value:{sign}.3g}"
