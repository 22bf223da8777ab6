"""A piecewise-linear function that gives the same bits for one argument and for many."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Curve:
    """Linear between knots, constant before the first, and the last interval's slope beyond the last.

    `a[j] + b[j] x` holds from knot j-1 (included) to knot j. Lists: for one argument they beat NumPy by far.
    """

    knots: list[float]
    a: list[float]
    b: list[float]

    @classmethod
    def through(cls, x: Sequence[float], y: Sequence[float]) -> Curve:
        """Join the points (x ascending). Two points at least."""
        slopes = [(y1 - y0) / (x1 - x0) for x0, x1, y0, y1 in zip(x, x[1:], y, y[1:], strict=False)]
        slopes.append(slopes[-1])
        starts = [y0 - slope * x0 for x0, y0, slope in zip(x, y, slopes, strict=True)]
        return cls(list(x), [y[0], *starts], [0.0, *slopes])

    def __call__(self, x: float) -> float:
        """Return the value at x."""
        j = bisect_right(self.knots, x)
        return self.a[j] + self.b[j] * x

    def raised(self, by: float) -> Curve:
        """Return this curve, higher by a constant."""
        return Curve(self.knots, [a + by for a in self.a], self.b)

    def along(self, start: int, stride: int, count: int) -> list[float]:
        """Values at `count` points from `start`, `stride` (> 0) apart; each equal to a call's to the bit."""
        knots = self.knots
        x, stop = start, start + count * stride
        values: list[float] = []
        while x < stop:
            j = bisect_right(knots, x)
            a, b = self.a[j], self.b[j]
            points = math.ceil((knots[j] - x) / stride) if j < len(knots) else count  # before the next knot
            end = min(stop, x + points * stride)
            values += [a + b * point for point in range(x, end, stride)]
            x = end
        return values
