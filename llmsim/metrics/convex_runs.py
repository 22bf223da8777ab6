"""The largest of the values of many steps that follow from few numbers, without working out more than a few of them.

Ends of steps of a stretch, and what is linear in them, are convex series, but for rounding: the largest value of a
range of them is at one of its ends, or so near to one that rounding may decide. Only these are worked out, as they
would be if all were, so that the result is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.record import Floats, Ints
from llmsim.step_ends import ROUNDING, StepEnds

Bools = NDArray[np.bool_]
#: the values at some places
Values = Callable[[Ints], Floats]


@dataclass(frozen=True, eq=False)
class Runs:
    """K runs of places, ascending; in each, values are a convex series up to an error, or are all to be looked at."""

    lo: Ints  #: (K,)
    hi: Ints  #: (K,) behind the last place
    error: Floats  #: (K,)
    whole: Bools  #: (K,) where nothing is known of them

    def outer(self, values: Values) -> Ints:
        """Places that may have the largest value of their run, ascending: some from both ends, or all."""
        n = self.hi - self.lo
        width = np.where(self.whole, n, 1)
        open_ = np.flatnonzero(width < n)
        while len(open_):
            lo, last, w = self.lo[open_], self.hi[open_] - 1, width[open_]
            edges = np.maximum(values(lo), values(last))
            inner = np.maximum(values(np.minimum(lo + w, last)), values(np.maximum(last - w, lo)))
            open_ = open_[(inner >= edges - 4 * self.error[open_]) & (2 * w < n[open_])]
            width[open_] *= 2
        left = np.minimum(width, n)
        right = np.minimum(width, n - left)
        return spelled(np.stack([self.lo, self.hi - right], 1).ravel(), np.stack([left, right], 1).ravel())


def spelled(start: Ints, count: Ints) -> Ints:
    """Places of ranges, one range after another."""
    begin = np.cumsum(count) - count
    return np.repeat(start - begin, count) + np.arange(int(count.sum()))


def cut(ends: StepEnds, *cuts: Ints, size: int) -> tuple[Ints, Ints]:
    """Cut the places up to `size` where stretches begin, and at others: (first, behind the last) of each piece."""
    every = np.unique(np.concatenate([[0, size], ends.begin, *cuts]))
    every = every[np.searchsorted(every, 0) : np.searchsorted(every, size, side="right")]
    return every[:-1], every[1:]


def gap_runs(ends: StepEnds, *cuts: Ints) -> Runs:
    """Runs of gaps, gap i from the end of step i to that of the next one, cut at some places too."""
    lo, hi = cut(ends, ends.begin - 1, *cuts, size=max(len(ends) - 1, 0))
    within = hi - lo > 1
    errors_s = np.where(within, 2 * ends.errors_s()[ends.rows(lo + within)], 0.0) if len(lo) else np.empty(0)
    return Runs(lo, hi, errors_s, np.zeros(len(lo), np.bool_))


def tilted_runs(ends: StepEnds, slope_s: float, *cuts: Ints) -> Runs:
    """Runs of the ends of steps, less `slope_s` for each step before."""
    lo, hi = cut(ends, *cuts, size=len(ends))
    rows = ends.rows(lo)
    errors_s = ends.errors_s()[rows] + ROUNDING * abs(slope_s) * hi
    return Runs(lo, hi, errors_s, ends.growth_s[rows] < 0)
