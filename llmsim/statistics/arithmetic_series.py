"""Percentiles of many arithmetic series of which few values are worked out, exact to the bit.

A series is known by its first value, its growth and how many values it has, up to an error; it can work out any of its
values as they are. Counting which of its values are certainly, or possibly, at most so large takes O(1). That narrows
down where a value of some rank must be, until few are left, and only these are worked out and sorted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEW = 4_096  #: so many values, and one for each series, are worked out and sorted without narrowing down further
LEAST_GROWTH = 1e-200  #: in place of none


@dataclass(frozen=True, eq=False)
class Series:
    """K series of values >= 0; value i of series j, counted from 0, is `value(places[j] + i)`."""

    value: Callable[[Ints], Floats]  #: at some places
    places: Ints  #: (K,)
    count: Ints  #: (K,) at least 1
    weight: Ints  #: (K,) how often each of its values occurs
    growth: Floats  #: (K,)
    error: Floats  #: (K,) how far a value may be from first value + i growth

    @cached_property
    def n(self) -> int:
        """Size of the population."""
        return int((self.count * self.weight).sum())

    def at_rank(self, ranks: Floats) -> Floats:
        """Values at these ranks (from 0) of the population, of the same shape."""
        found = {rank: self._at(rank) for rank in np.unique(ranks).tolist()}
        return np.array([found[rank] for rank in ranks.ravel().tolist()]).reshape(ranks.shape)

    def _at(self, rank: float) -> float:
        """Narrow down by the ends of the series, then by counting in those that are left."""
        low, high = self._bounds(rank)
        below = self._certainly(low)
        left = np.flatnonzero(self._possibly(high) > below)
        within = self._some(left)
        others = self._weigh(below) - float((below * self.weight)[left].sum())
        return within._narrowed(low, high, rank - others)

    def _some(self, which: NDArray[np.intp]) -> Series:
        places, count, weight = self.places[which], self.count[which], self.weight[which]
        return Series(self.value, places, count, weight, self.growth[which], self.error[which])

    def _narrowed(self, low: float, high: float, rank: float) -> float:
        """Find a value that is more than `low`, and at most `high`."""
        few = FEW + len(self.count)
        from_, to = self._certainly(low), self._possibly(high)
        while float(np.maximum(to - from_, 0).sum()) > few and low < (middle := (low + high) / 2) < high:
            possibly, certainly = self._possibly(middle), self._certainly(middle)
            if self._weigh(possibly) <= rank:
                low, from_ = middle, certainly
            elif self._weigh(certainly) > rank:
                high, to = middle, possibly
            else:
                return self._among(*self._around(middle, low, high, rank), rank)
        return self._among(low, high, rank)

    def _bounds(self, rank: float) -> tuple[float, float]:
        """What a value is more than and at most, as the smallest and the largest values of the series tell."""
        low, high = (float(each[np.searchsorted(through, rank, side="right")]) for each, through in self._ends)
        return np.nextafter(low, -np.inf), high

    def _around(self, middle: float, low: float, high: float, rank: float) -> tuple[float, float]:
        """Where errors hide on which side of `middle` a value is: the range that is left."""
        near = 8 * float(self.error.max())
        if self._weigh(self._possibly(middle - near)) <= rank:
            low = max(low, middle - near)
        if self._weigh(self._certainly(middle + near)) > rank:
            high = min(high, middle + near)
        return low, high

    def _among(self, low: float, high: float, rank: float) -> float:
        """Work out what may be between two bounds, and take the value of this rank."""
        below = self._certainly(low)
        count = np.maximum(self._possibly(high) - below, 0).astype(np.int64)
        first = np.where(self.growth < 0, self.count - below - count, below).astype(np.int64)
        begin = np.cumsum(count) - count
        values = self.value(np.repeat(self.places + first - begin, count) + np.arange(int(count.sum())))
        order = np.argsort(values, kind="stable")
        through = np.cumsum(np.repeat(self.weight, count)[order])
        return float(values[order[np.searchsorted(through, rank - self._weigh(below), side="right")]])

    def _weigh(self, counts: Floats) -> float:
        return float((counts * self.weight).sum())

    def _certainly(self, bound: float) -> Floats:
        """How many values of each series are at most so large, whatever the errors, (K,)."""
        return self._up_to(bound - self.error)

    def _possibly(self, bound: float) -> Floats:
        """How many values of each series may be at most so large, (K,)."""
        return self._up_to(bound + self.error)

    def _up_to(self, bounds: Floats) -> Floats:
        steps = np.floor((bounds - self._smallest) / self._slope)
        steps += 1
        found: Floats = np.minimum(np.maximum(steps, 0, out=steps), self.count, out=steps)
        return found

    @cached_property
    def _slope(self) -> Floats:
        return np.maximum(np.abs(self.growth), LEAST_GROWTH)

    @cached_property
    def _smallest(self) -> Floats:
        """The smallest value of each series, (K,)."""
        return self.value(self.places + np.where(self.growth < 0, self.count - 1, 0))

    @cached_property
    def _ends(self) -> tuple[tuple[Floats, Ints], tuple[Floats, Ints]]:
        """Least and largest values that series may have, ascending; with each, the population up to this series."""
        largest = self._smallest + (self.count - 1) * self._slope + 2 * self.error
        return self._ascending(self._smallest - 2 * self.error), self._ascending(largest)

    def _ascending(self, values: Floats) -> tuple[Floats, Ints]:
        order = np.argsort(values, kind="stable")
        return values[order], np.cumsum((self.count * self.weight)[order])
