"""Shares of requests, such as those that miss an SLO: intervals that hold near 0 and 1, though misses come in bursts.

Misses of a queue come in clusters: one long busy period makes many. So each run's misses are declustered in order of
arrival (Ferro & Segers 2003: the intervals estimator of the extremal index, no tuning), and the clusters of all runs
are weighted Poisson counts, whose interval is the mid-p one of Fay & Kim (2017), midway between the ends of Fay &
Feuer (1997). Their variance is taken times 1 - share, so that a share of one half is treated from either side alike.

The variance is known in two ways, by the sizes of clusters within runs, and by how much runs differ. Each counts by
how many values it rests on: clusters, and runs less one; Student's t of both together makes up for how few these are.

Where there are too few clusters, or too few independent requests among the events, the interval is not bounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.statistics.intervals import LEVEL, Interval, normal, student_t

#: clusters of equal size below which an interval is not given
LEAST_CLUSTERS = 8.0
#: likewise of independent requests that are events, or lie beyond a quantile, by the effective sample size of the
#: latencies: with fewer, bursts are too few and too long to be told apart, and chance says which runs seem long enough
LEAST_EVENTS = 15.0
#: an end of an interval is looked for up to so many times as far, by so many halvings
MOST, HALVINGS = 50.0, 40


@dataclass(frozen=True, slots=True)
class Clusters:
    """Events among the requests of one run, and the clusters that they come in."""

    of: int  #: requests
    events: int
    squares: float = 0.0  #: sum of the squared sizes of clusters
    largest: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """Requests of one run that missed and that met, each in clusters: which are rare, all runs together decide."""

    missed: Clusters
    met: Clusters

    @property
    def value(self) -> float:
        """Share that met."""
        return self.met.events / self.met.of


def share_of(met: NDArray[np.bool_]) -> Share:
    """Count a run's requests, (n,) in order of arrival, and decluster both kinds. O(n log n)."""
    return Share(clusters_of(~met), clusters_of(met))


def clusters_of(event: NDArray[np.bool_]) -> Clusters:
    """Decluster the events among requests, (n,) in order of arrival: gaps longer than most of chance separate them."""
    places = np.flatnonzero(event)
    if not len(places):
        return Clusters(len(event), 0)
    gaps = np.diff(places)
    separate = np.flatnonzero(gaps > _longest_within(gaps)) if len(gaps) else np.empty(0, np.int64)
    sizes = np.diff(np.concatenate([[0], separate + 1, [len(places)]]))
    return Clusters(len(event), len(places), float((sizes.astype(np.float64) ** 2).sum()), int(sizes.max()))


def _longest_within(gaps: NDArray[np.int64]) -> float:
    """The longest gap between events of one cluster: the share of gaps above it is the extremal index."""
    if len(gaps) < 2:
        return 0.0
    lengths = gaps.astype(np.float64)
    if lengths.max() <= 2:
        index = 2 * lengths.sum() ** 2 / (len(gaps) * (lengths**2).sum())
    else:
        index = 2 * (lengths - 1).sum() ** 2 / (len(gaps) * ((lengths - 1) * (lengths - 2)).sum())
    between = int(min(index, 1.0) * len(gaps)) + 1
    return float(np.sort(gaps)[::-1][between - 1]) if between <= len(gaps) else 0.0


def share(runs: Sequence[Share], effective: float, level: float = LEVEL) -> Interval:
    """The share that meets, from all runs together; not bounded where too few clusters say so. Never leaves 0 to 1.

    `effective` is how many independent requests all are worth. A gate by clusters alone would pick the runs in which
    one cluster looks like several.
    """
    missed, met = [run.missed for run in runs], [run.met for run in runs]
    of = sum(run.missed.of for run in runs)
    estimate = sum(run.events for run in met) / of
    enough = effective * min(estimate, 1 - estimate) >= LEAST_EVENTS
    low, high = (rare(missed if estimate > 0.5 else met, level) if enough else None) or (-math.inf, math.inf)
    if estimate > 0.5:
        low, high = 1 - high, 1 - low
    return Interval(estimate, low, high, level, len(runs))


def rare(runs: Sequence[Clusters], level: float = LEVEL) -> tuple[float, float] | None:
    """Ends of the interval of a share of one half or less; None where there are too few clusters."""
    found = Counted.of_runs(runs, level)
    if found is None:
        return None
    low, high = found.ends(level)
    return low / found.of, high / found.of


def factors(runs: Sequence[Clusters], level: float = LEVEL) -> tuple[float, float] | None:
    """By how much fewer, and more, clusters there would have to be for the events seen to be just within the interval.

    That is `rare` the other way round: for which numbers of events the number seen would be an end.
    """
    found = Counted.of_runs(runs, level)
    return None if found is None else found.factors(level)


@dataclass(frozen=True, slots=True)
class Counted:
    """Events of all runs together: a weighted Poisson count."""

    of: int  #: requests
    events: float
    variance: float  #: of the events, were they rare
    largest: float  #: cluster

    @classmethod
    def of_runs(cls, runs: Sequence[Clusters], level: float) -> Counted | None:
        """Put runs together; None for a single one, and for too few clusters."""
        of, events = sum(run.of for run in runs), sum(run.events for run in runs)
        squares = sum(run.squares for run in runs)
        clusters = events**2 / squares if events else 0.0
        if len(runs) < 2 or clusters < LEAST_CLUSTERS:
            return None
        differ = sum((run.events - run.of * events / of) ** 2 for run in runs) / (len(runs) - 1) / (events / len(runs))
        degrees = clusters + len(runs) - 1
        dispersion = (clusters * squares / events + (len(runs) - 1) * differ) / degrees
        wider = (student_t((1 + level) / 2, degrees) / normal((1 + level) / 2)) ** 2
        return cls(of, events, events * dispersion * wider, max(run.largest for run in runs))

    def ends(self, level: float) -> tuple[float, float]:
        """Least and most events that are to be expected."""

        def end(probability: float) -> float:
            return _root(lambda at: self.confidence(at) - probability, self.events / MOST, self.of)

        return end((1 - level) / 2), end((1 + level) / 2)

    def factors(self, level: float) -> tuple[float, float]:
        """Least and most times as many clusters whose ends are the events seen."""
        most = min(MOST, self.of / self.events)

        def factor(probability: float) -> float:
            return _root(lambda by: probability - self.times(by).confidence(self.events), 1 / MOST, most)

        return factor((1 + level) / 2), factor((1 - level) / 2)

    def times(self, factor: float) -> Counted:
        """So many times as many clusters of the same sizes."""
        return Counted(self.of, self.events * factor, self.variance * factor, self.largest)

    def confidence(self, expected: float) -> float:
        """Confidence that no more events than this are to be expected: midway between the two of Fay & Feuer."""
        rest = max(1 - self.events / self.of, 0.0)
        least = _gamma_cdf(self.events + self.largest, (self.variance + self.largest**2) * rest, expected)
        return (least + _gamma_cdf(self.events, self.variance * rest, expected)) / 2


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that rises crosses zero, between two positive numbers; an end where it doesn't."""
    for _ in range(HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return high


def effective_clusters(runs: Sequence[Clusters]) -> float:
    """So many clusters of equal size would be as uncertain: by sizes within runs, or by how runs differ; the lower."""
    events = sum(run.events for run in runs)
    if not events:
        return 0.0
    counts = np.array([run.events for run in runs], dtype=np.float64)
    differ = max(1.0, float(counts.var(ddof=1)) / float(counts.mean())) if len(runs) > 1 else 1.0
    return min(events**2 / sum(run.squares for run in runs), events / differ)


@dataclass(frozen=True, slots=True)
class Pooled:
    """The clusters of several runs together: all that says how probable a share is."""

    of: int  #: requests
    events: int
    squares: float
    largest: int
    effective: float  #: clusters of equal size that would be as uncertain


def pooled(runs: Sequence[Clusters]) -> Pooled:
    """Put the clusters of runs together."""
    return Pooled(
        sum(run.of for run in runs),
        sum(run.events for run in runs),
        sum(run.squares for run in runs),
        max(1, *(run.largest for run in runs)),
        effective_clusters(runs),
    )


def probability_at_most(runs: Sequence[Clusters], bound: float) -> tuple[float, float]:
    """How probable it is that a share is at most `bound`: at least, and at most, as Fay & Feuer's two ends say.

    Holds for few events and for none, where `rare` gives no interval: `largest` of the runs then says how large a
    cluster may be that was not seen, such as that of the worst requests that were. reports/page/what_if.js has the
    same, to work it out anew in a browser.
    """
    if bound >= 1:
        return 1.0, 1.0
    all_runs = pooled(runs)
    of, events, largest = all_runs.of, all_runs.events, all_runs.largest
    few = all_runs.effective < LEAST_CLUSTERS
    squares = max(all_runs.squares, events * largest) if few else all_runs.squares
    at_least = _gamma_cdf(events + largest, (squares + largest**2) * (1 - events / of), bound * of)
    at_most = _gamma_cdf(events, squares * (1 - events / of), bound * of) if events else 1.0
    return at_least, max(at_least, at_most)


def _gamma_cdf(mean: float, variance: float, at: float) -> float:
    if variance <= 0:
        return 1.0 if at >= mean else 0.0
    from scipy import special

    return float(special.gammainc(mean**2 / variance, at * mean / variance))
