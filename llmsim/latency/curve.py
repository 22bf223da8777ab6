"""A piecewise-linear function."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from llmsim.latency.contract import UNBOUNDED, Line

#: a line of a curve, a + b x: from which x on, up to which, a and b
Piece = tuple[int, int, float, float]
NOWHERE: Piece = (0, 0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Curve:
    """Linear between knots, constant before the first, and the last interval's slope beyond the last.

    `a[j] + b[j] x` holds from knot j-1 (included) to knot j. Lists: for one argument they beat NumPy by far.
    """

    knots: list[int]
    a: list[float]
    b: list[float]
    ends: list[int]  #: of the intervals: the knots, and one that is never reached

    @classmethod
    def through(cls, x: Sequence[int], y: Sequence[float]) -> Curve:
        """Join the points (x ascending, whole numbers). Two points at least."""
        slopes = [(y1 - y0) / (x1 - x0) for x0, x1, y0, y1 in zip(x, x[1:], y, y[1:], strict=False)]
        slopes.append(slopes[-1])
        starts = [y0 - slope * x0 for x0, y0, slope in zip(x, y, slopes, strict=True)]
        return cls(list(x), [y[0], *starts], [0.0, *slopes], [*x, UNBOUNDED])

    def at(self, x: float) -> float:
        """Return the value at x."""
        j = bisect_right(self.knots, x)
        return self.a[j] + self.b[j] * x

    def piece(self, x: float) -> Piece:
        """Return the line that the curve is on at x."""
        j = bisect_right(self.knots, x)
        return self.knots[j - 1] if j else -UNBOUNDED, self.ends[j], self.a[j], self.b[j]

    def raised(self, by: float) -> Curve:
        """Return this curve, higher by a constant."""
        return Curve(self.knots, [a + by for a in self.a], self.b, self.ends)

    def plus(self, other: Curve, times: int) -> Curve | None:
        """Return the sum of this curve and so many times another one; None where their knots are not the same."""
        if self.knots != other.knots:
            return None
        a = [mine + times * theirs for mine, theirs in zip(self.a, other.a, strict=True)]
        b = [mine + times * theirs for mine, theirs in zip(self.b, other.b, strict=True)]
        return Curve(self.knots, a, b, self.ends)

    def line(self, start: float, stride: int) -> Line:
        """Values at points from `start`, `stride` (> 0) apart: the first, the increment, how many before the knot."""
        j = bisect_right(self.knots, start)
        b = self.b[j]
        return self.a[j] + b * start, b * stride, int(-((start - self.ends[j]) // stride))  # rounded up
