"""Percentiles of weighted and of censored samples, and other statistics that metrics share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.record import Floats, Ints

PERCENTILES = (50.0, 90.0, 99.0)

#: values, and how often each occurred, in parts that can be gone through again
Weighted = Iterable[tuple[Floats, Ints]]


def weighted_percentile(parts: Weighted, percentiles: Sequence[float]) -> list[float]:
    """NumPy's linear percentiles where values[j] >= 0 occurs weights[j] times; NaN if nothing does."""
    return _percentiles(parts, _histogram(parts), percentiles)


def _percentiles(parts: Weighted, histogram: _Histogram, percentiles: Sequence[float]) -> list[float]:
    if histogram.n == 0:
        return [float("nan")] * len(percentiles)
    rank = np.asarray(percentiles) / 100 * (histogram.n - 1)
    below = np.floor(rank)
    share = rank - below
    low, high = _at_rank(parts, histogram, np.stack([below, np.minimum(below + 1, histogram.n - 1)]))
    step = high - low
    # NumPy interpolates from the nearer end; the same here, so that results agree to the last bit.
    between = np.where(share >= 0.5, high - step * (1 - share), low + step * share)
    return [float(x) for x in between]


@dataclass(frozen=True, eq=False)
class _Histogram:
    first_bin: int
    sizes: Floats  #: (bins,) of the population, from `first_bin` on
    n: int
    total: float  #: sum of the population


def _histogram(parts: Weighted) -> _Histogram:
    first, sizes, total = 0, np.zeros(0), 0.0
    for values, weights in parts:
        if len(values) == 0:
            continue
        bins = _bins(values)
        low, high = int(bins.min()), int(bins.max()) + 1
        if len(sizes) == 0:
            first = low
        lacking = max(first - low, 0), max(high - first - len(sizes), 0)
        first, sizes = min(first, low), np.pad(sizes, lacking) if any(lacking) else sizes
        sizes[low - first : high - first] += np.bincount(bins - low, weights=weights)
        total += float((values * weights).sum())  # BLAS would wake its threads for this
    return _Histogram(first, sizes, int(sizes.sum()), total)


def _at_rank(parts: Weighted, histogram: _Histogram, ranks: Floats) -> Floats:
    """Values at these ranks (from 0) of the population; keeps and sorts only the bins that they fall into."""
    sizes, first = histogram.sizes, histogram.first_bin
    wanted = np.zeros(len(sizes), np.bool_)
    wanted[np.searchsorted(np.cumsum(sizes), ranks, side="right")] = True
    picked = [(values[keep], weights[keep]) for values, weights in parts for keep in [wanted[_bins(values) - first]]]
    found, times = (np.concatenate(column) for column in zip(*picked, strict=True))
    order = np.argsort(found)
    found = found[order]
    passed_over = np.cumsum(np.where(wanted, 0.0, sizes))
    through = np.cumsum(times[order]) + passed_over[_bins(found) - first]
    return found[np.searchsorted(through, ranks, side="right")]


def _bins(values: Floats) -> Ints:
    """The leading bits of each number (64 bins to an octave): for floats >= 0 these sort as integers."""
    return np.ascontiguousarray(values, dtype=np.float64).view(np.int64) >> 46


def kaplan_meier(time_s: Floats, observed: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Product-limit estimate: (event times ascending, share still waiting just after each).

    `time_s` (n,) is when the event happened (`observed`) or until when it had not (censored). An event and
    a censoring at the same time count in this order. Assumes that censoring tells nothing about the wait to
    come; where requests are cut *because* they wait, the estimate is a lower bound. Kaplan & Meier 1958,
    eq. 2b.
    """
    times, place = np.unique(time_s[observed], return_inverse=True)
    events = np.bincount(place, minlength=len(times))
    at_risk = len(time_s) - np.searchsorted(np.sort(time_s), times, side="left")
    waiting = np.cumprod(1.0 - events / at_risk, dtype=np.float64)
    return times, waiting


def survival_percentile(times: Floats, waiting: Floats, percentile: float) -> float:
    """Smallest event time by which `percentile` % are done; NaN where the curve never gets there."""
    reached = np.flatnonzero(waiting <= 1 - percentile / 100 + 1e-12)
    return float(times[reached[0]]) if len(reached) else float("nan")


def restricted_mean(times: Floats, waiting: Floats, horizon: float) -> float:
    """Area under the survival curve up to `horizon`: the mean if nothing is censored, else a lower bound."""
    edges = np.concatenate([[0.0], times, [horizon]])
    heights = np.concatenate([[1.0], waiting])
    return float(np.sum(heights * np.diff(edges)))


def summary(values: Floats, censored_at: Floats | None = None) -> dict[str, float | int | None]:
    """Mean, p50, p90, p99, how many values these rest on (`n`) and how many were cut short (`censored`).

    Without censoring: the mean and NumPy's linear percentiles. With it: Kaplan-Meier percentiles, and the
    restricted mean up to the longest time seen. None (JSON null) where there is nothing to say: n = 0, or a
    percentile not reached.
    """
    cut = np.empty(0) if censored_at is None else censored_at
    if len(values) == 0:
        return _named(float("nan"), [float("nan")] * 3, 0, len(cut))
    if len(cut) == 0:
        return _named(float(values.mean()), np.percentile(values, PERCENTILES).tolist(), len(values), 0)
    time_s = np.concatenate([values, cut])
    observed = np.arange(len(time_s)) < len(values)
    times, waiting = kaplan_meier(time_s, observed)
    percentiles = [survival_percentile(times, waiting, q) for q in PERCENTILES]
    return _named(restricted_mean(times, waiting, float(time_s.max())), percentiles, len(values), len(cut))


def weighted_summary(parts: Weighted, censored: int = 0) -> dict[str, float | int | None]:
    """Like `summary` where values[j] occurs weights[j] times; `censored` is reported, not estimated."""
    histogram = _histogram(parts)
    mean = histogram.total / histogram.n if histogram.n else float("nan")
    return _named(mean, _percentiles(parts, histogram, PERCENTILES), histogram.n, censored)


def _named(mean: float, percentiles: Sequence[float], n: int, censored: int) -> dict[str, float | int | None]:
    p50, p90, p99 = (number(p) for p in percentiles)
    return {"mean": number(mean), "p50": p50, "p90": p90, "p99": p99, "n": n, "censored": censored}


def number(value: float) -> float | None:
    """A plain float for JSON; None for NaN and infinities."""
    return float(value) if np.isfinite(value) else None


def jain_index(shares: Floats) -> float:
    """Jain's (sum x)^2 / (N sum x^2): 1 if all get the same, 1/N if one gets all, NaN if all get 0."""
    squares = float(np.sum(shares**2))
    return float(np.sum(shares)) ** 2 / (len(shares) * squares) if squares > 0 else float("nan")
