"""Values of axes and intervals over seeds as short text, the same in tables, pictures and pages."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from llmsim.statistics import Interval

#: letters that a line of a narrow column takes, if no word is longer
LINE = 10


def in_words(value: Any) -> str:
    """A value of an axis as text: numbers and words as they are, tables as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def in_short(interval: Interval | None) -> str:
    """An interval in a cell, to the first digit that it is not sure of."""
    if interval is None:
        return "–"
    half = interval.half_width
    if not math.isfinite(half):
        return _digits(interval.estimate)
    if half <= 1e-12 * abs(interval.estimate):  # as of equal values, but for rounding
        return f"{_digits(interval.estimate)} ± 0"
    decimals = min(max(0, -math.floor(math.log10(half))), 3)
    return f"{interval.estimate:,.{decimals}f} ± {half:,.{decimals}f}"


def narrow(name: str, line: int = LINE) -> str:
    """A long name in lines of so many letters, so that it takes no more room than it needs; numbers stay whole."""
    lines = [""]
    for word in re.split(r"(?<=[_/])|(?<=[.-])(?=[^\W\d])", name):
        if len(lines[-1]) + len(word) > line and lines[-1]:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
