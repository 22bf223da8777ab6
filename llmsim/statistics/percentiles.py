"""Percentiles of samples in which values occur many times, without writing any value twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: bits of a number that a bin leaves out: 64 bins to an octave, and 1,024 where few values are to be sorted
COARSE, FINE = 46, 42
#: values, and how often each occurs, in parts that can be gone through again
Weighted = Iterable[tuple[Floats, Ints]]


class Population(Protocol):
    """Values that can be found by their rank."""

    @property
    def n(self) -> int:
        """How many there are."""

    def at_rank(self, ranks: Floats) -> Floats:
        """Values at these ranks (from 0), of the same shape; there is at least one value."""


def weighted_percentile(parts: Weighted, percentiles: Sequence[float]) -> list[float]:
    """NumPy's linear percentiles where values[j] >= 0 occurs weights[j] times; NaN if nothing does."""
    return percentiles_of(Parts(parts), percentiles)


def percentiles_of(population: Population, percentiles: Sequence[float]) -> list[float]:
    """NumPy's linear percentiles of a population; NaN if it is empty."""
    n = population.n
    if n == 0:
        return [float("nan")] * len(percentiles)
    rank = np.asarray(percentiles) / 100 * (n - 1)
    below = np.floor(rank)
    share = rank - below
    low, high = population.at_rank(np.stack([below, np.minimum(below + 1, n - 1)]))
    step = high - low
    # NumPy interpolates from the nearer end; the same here, so that results agree to the last bit.
    between = np.where(share >= 0.5, high - step * (1 - share), low + step * share)
    return [float(x) for x in between]


@dataclass(frozen=True, eq=False)
class Parts:
    """A population of values >= 0 in parts that can be gone through again."""

    parts: Weighted

    @cached_property
    def counts(self) -> Histogram:
        """How often values fall into each bin."""
        return histogram(self.parts, FINE)

    @property
    def n(self) -> int:
        """How many there are."""
        return self.counts.n

    def at_rank(self, ranks: Floats) -> Floats:
        """Values at these ranks (from 0); keeps and sorts only the bins that they fall into."""
        sizes, first = self.counts.sizes, self.counts.first_bin
        wanted = np.zeros(len(sizes), np.bool_)
        wanted[np.searchsorted(np.cumsum(sizes), ranks, side="right")] = True
        picked = [_picked(values, weights, wanted, first) for values, weights in self.parts if len(values)]
        found, times = (np.concatenate(column) for column in zip(*picked, strict=True))
        order = np.argsort(found, kind="stable")  # it finds out where they ascend, as gaps do while requests decode
        found = found[order]
        passed_over = np.cumsum(np.where(wanted, 0.0, sizes))
        through = np.cumsum(times[order]) + passed_over[_bins(found, FINE) - first]
        at_rank: Floats = found[np.searchsorted(through, ranks, side="right")]
        return at_rank


@dataclass(frozen=True, eq=False)
class Histogram:
    """How often values fall into each bin."""

    first_bin: int  #: of those that leave out as many bits as `histogram` was told
    sizes: Floats  #: (bins,) of the population, from `first_bin` on
    n: int


def histogram(parts: Weighted, left_out: int = COARSE) -> Histogram:
    """Count values into bins by their leading bits, all but so many. O(values)."""
    first, sizes = 0, np.zeros(0)
    for values, weights in parts:
        if len(values) == 0:
            continue
        bins = _bins(values, left_out)
        low, high = int(bins.min()), int(bins.max()) + 1
        if len(sizes) == 0:
            first = low
        lacking = max(first - low, 0), max(high - first - len(sizes), 0)
        first, sizes = min(first, low), np.pad(sizes, lacking) if any(lacking) else sizes
        sizes[low - first : high - first] += (
            np.bincount(bins - low, weights=weights) if high - low > 1 else weights.sum()
        )
    return Histogram(first, sizes, int(sizes.sum()))


def _picked(values: Floats, weights: Ints, wanted: NDArray[np.bool_], first: int) -> tuple[Floats, Ints]:
    """Those of the values that are in the bins wanted."""
    bins = _bins(values, FINE) - first
    if wanted[int(bins.min()) : int(bins.max()) + 1].all():
        return values, weights
    keep = wanted[bins]
    return values[keep], weights[keep]


def _bins(values: Floats, left_out: int) -> Ints:
    """All but so many bits of each number: for floats >= 0 these sort as integers."""
    return np.ascontiguousarray(values, dtype=np.float64).view(np.int64) >> left_out


def bin_edges(first_bin: int, count: int) -> Floats:
    """Lower edges of so many bins of a `Histogram`, (count,)."""
    return (np.arange(first_bin, first_bin + count, dtype=np.int64) << COARSE).view(np.float64)
