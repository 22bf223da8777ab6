"""A piecewise-linear function that gives the same bits for one argument and for an array of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


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

    def along(self, start: int, stride: int, count: int) -> NDArray[np.float64]:
        """Values at `count` points from `start`, `stride` (> 0) apart; each equal to a call's to the bit."""
        stop = start + count * stride
        x = np.arange(start, stop, stride, dtype=np.float64)  # whole numbers: exact
        first, last = bisect_right(self.knots, start), bisect_right(self.knots, stop - stride)
        if first == last:
            x *= self.b[first]
            x += self.a[first]
            return x
        knots, a, b = self._arrays
        j = knots.searchsorted(x, side="right")
        return np.asarray(a[j] + b[j] * x, dtype=np.float64)

    @cached_property
    def _arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        return np.array(self.knots), np.array(self.a), np.array(self.b)
