"""Values of one quantity in several runs: how many independent ones they are worth, and intervals of their quantiles.

A run keeps of each quantity a histogram with logarithmic bins (64 to an octave, so that a value is known to 1 %), its
effective sample size, and the clusters of the values beyond its own quantiles. That is enough to pool runs: the
quantile is that of all values together, and its interval holds the bounds of which the share beyond them may be the
quantile's (Woodruff 1952).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import harmonic_mean
from typing import Any

import numpy as np

from llmsim.statistics.intervals import LEVEL, Floats, Interval, mean, skewed_mean
from llmsim.statistics.percentiles import bin_edges, histogram
from llmsim.statistics.shares import LEAST_EVENTS, Clusters, clusters_of, factors

#: quantiles whose intervals are inverted shares; those of lower ones are Student's t over runs
TAILS = (0.9, 0.99)
#: effective sample size of a run from which on its mean or median is nearly unbiased
LEAST_FOR_MEAN = 25.0
#: skewness of a run's mean, by the root of its effective sample size, as one makes up for it that the sample size is
#: estimated, and skewness known: of M/M/1 and M/D/1 at any load (`llmsim validate coverage`)
SKEWNESS = 5.0
#: smaller values, such as waits of 0, count as this: bins end somewhere
LEAST_VALUE = 1e-6
ROUNDING = 1e-20  #: of a sum of squares: a series that varies by less is constant


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One run's values of one quantity, in short."""

    first_bin: int
    sizes: Floats  #: (bins,) how many values each bin holds
    effective: float  #: effective sample size, of the values or of their logarithms: the smaller
    beyond: Mapping[float, Clusters]  #: by quantile of `TAILS`: the values beyond it

    @property
    def n(self) -> int:
        """How many values."""
        return int(self.sizes.sum())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, as `from_dict` reads them."""
        beyond = {str(q): [c.of, c.events, c.squares, c.largest] for q, c in self.beyond.items()}
        filled = np.flatnonzero(self.sizes)
        bins, sizes = (self.first_bin + filled).tolist(), [int(size) for size in self.sizes[filled]]
        return {"bins": bins, "sizes": sizes, "beyond": beyond, "effective": self.effective}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Sample:
        """Read what `to_dict` wrote; KeyError, TypeError or ValueError for anything else."""
        beyond = {float(q): Clusters(*counts) for q, counts in values["beyond"].items()}
        bins = np.array(values["bins"], dtype=np.int64)
        sizes = np.zeros(int(bins[-1] - bins[0]) + 1)
        sizes[bins - bins[0]] = values["sizes"]
        return cls(int(bins[0]), sizes, float(values["effective"]), beyond)


def sample_of(values: Floats) -> Sample | None:
    """Keep what `quantile` needs of a run's values, (n,) >= 0 in order of arrival; None without values. O(n log n)."""
    if not len(values):
        return None
    values = np.maximum(values, LEAST_VALUE)
    counts = histogram([(values, np.ones(len(values), np.int64))])
    beyond = {q: clusters_of(values > np.quantile(values, q)) for q in TAILS}
    effective = min(effective_size(values), effective_size(np.log(values)))
    return Sample(counts.first_bin, counts.sizes, effective, beyond)


def size_together(effective: Sequence[float]) -> float:
    """Effective sample size of a run of several like it: by the mean of their correlation times. 0 without any.

    Runs without a long burst look as if they remembered little; a mean of sizes would believe them most.
    """
    return harmonic_mean(effective) if effective else 0.0


def effective_size(series: Floats) -> float:
    """How many independent values a stationary series, (n,), is worth for its mean: n / (1 + 2 sum of correlations).

    Correlations are summed in pairs until a pair is not positive (Geyer 1992, the initial positive sequence). About a
    mean of the series' own, covariances are too low by the variance of that mean, which is put back. At most n.
    O(n log n).
    """
    n, centred = len(series), series - series.mean()
    power = np.abs(np.fft.rfft(centred, 1 << (n + n // 2).bit_length())) ** 2
    covariance = np.fft.irfft(power)[: 2 * (n // 4)]
    if not len(covariance) or covariance[0] <= ROUNDING * float((series * series).sum()):
        return float(n)
    correlation = covariance / covariance[0]
    return n / _correlation_time(correlation + _correlation_time(correlation) / n)


def _correlation_time(correlation: Floats) -> float:
    """1 + 2 sum of correlations, (lags,) from lag 0 on, up to a pair that is not positive; at least 1."""
    pairs = correlation.reshape(-1, 2).sum(axis=1) / correlation[0]
    ends = np.flatnonzero(pairs <= 0)
    kept = pairs[: ends[0]] if len(ends) else pairs
    return max(1.0, 2 * float(kept.sum()) - 1)


def quantile(samples: Sequence[Sample], share: float, level: float = LEVEL) -> Interval:
    """A quantile of `TAILS` of all runs' values together; not bounded where too few of them are independent."""
    pooled = _Pooled.of(samples)
    estimate, rest = pooled.value_at(share), 1 - share
    effective = len(samples) * size_together([sample.effective for sample in samples])
    by = factors([_beyond(sample, share, estimate) for sample in samples], level)
    if by is None or effective * rest < LEAST_EVENTS:
        return Interval(estimate, -math.inf, math.inf, level, len(samples))
    low, high = (pooled.value_at(1 - rest * factor) for factor in reversed(by))
    return Interval(estimate, low, high, level, len(samples))


def mean_of_runs(values: Sequence[float], effective: float, tail: int, level: float = LEVEL) -> Interval:
    """Mean over runs of their means, medians or rates; not bounded where runs are too short, or none differs.

    `effective` is the effective sample size of a run. Runs begin empty, which biases their means by about the inverse
    of it, and no number of runs makes up for that. `tail` is where extreme values are: 1 for latencies, which have a
    long tail of high values, -1 for what bursts make lower, 0 for neither; Student's t is corrected for it.
    """
    found = mean(values, level)
    if effective < LEAST_FOR_MEAN or min(values) == max(values):
        return found.unbounded()
    return skewed_mean(values, tail * SKEWNESS / math.sqrt(effective), level)


def _beyond(sample: Sample, share: float, bound: float) -> Clusters:
    """Values of a run beyond a bound near its quantile: their number, in clusters like those beyond its quantile."""
    own = sample.beyond[share]
    edges = bin_edges(sample.first_bin, len(sample.sizes) + 1)
    events = int(np.interp(bound, edges, np.concatenate([np.cumsum(sample.sizes[::-1])[::-1], [0.0]])))
    scale = events / own.events if own.events else 0.0
    return Clusters(own.of, events, own.squares * scale, own.largest if events else 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Pooled:
    """Histograms added up; within a bin values lie evenly."""

    edges: Floats  #: (bins + 1,)
    through: Floats  #: (bins + 1,) values below each edge

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> _Pooled:
        first = min(sample.first_bin for sample in samples)
        bins = max(sample.first_bin + len(sample.sizes) for sample in samples) - first
        sizes = np.zeros(bins)
        for sample in samples:
            begin = sample.first_bin - first
            sizes[begin : begin + len(sample.sizes)] += sample.sizes
        return cls(bin_edges(first, bins + 1), np.concatenate([[0.0], np.cumsum(sizes)]))

    def value_at(self, share: float) -> float:
        return float(np.interp(min(max(share, 0.0), 1.0) * self.through[-1], self.through, self.edges))
