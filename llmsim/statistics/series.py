"""Series in time: averages over stretches of time, warm-up, batch means, and how many batches are independent."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from llmsim.statistics.intervals import LEVEL, Floats, Interval, mean

BATCHES = 32
DIGITS = 9  #: of values by their largest, from which on they differ by rounding


def time_averages(came_s: Floats, left_s: Floats, edges_s: Floats) -> Floats:
    """Time averages of the number that have come and not left, between neighbouring edges, (edges - 1,).

    `came_s`, `left_s` (N,) in any order, none leaving before it came. Exact, O((N + edges) log N).
    """
    present_s = _integral(came_s, edges_s) - _integral(left_s, edges_s)
    return np.asarray(np.diff(present_s) / np.diff(edges_s))


def _integral(event_s: Floats, until_s: Floats) -> Floats:
    """Integral of the count of events from their first to each time."""
    ordered = np.sort(event_s)
    origin_s = ordered[0] if len(ordered) else 0.0  # sums of small numbers lose least
    before = np.searchsorted(ordered, until_s, side="right")
    total_s = np.concatenate([[0.0], np.cumsum(ordered - origin_s)])
    return np.asarray(before * (until_s - origin_s) - total_s[before])


def number_at(came_s: Floats, left_s: Floats, at_s: Floats) -> Floats:
    """How many have come and not left at these times, (times,)."""
    came, left = (np.searchsorted(np.sort(event_s), at_s, side="right") for event_s in (came_s, left_s))
    return np.asarray(came - left, dtype=np.float64)


def mser5(values: ArrayLike) -> int:
    """How many of the first values to leave out as warm-up (MSER-5: White, Cobb & Spratt 2000).

    Means of five are taken; of all cuts in the first half, the one whose remainder has the smallest variance / size.
    Returns a multiple of 5, 0 for fewer than ten values. In the first half, because a minimum beyond it says that the
    series is too short.
    """
    series = np.asarray(values, dtype=np.float64)
    n = len(series) // 5
    if n < 2:
        return 0
    means = series[: 5 * n].reshape(n, 5).mean(axis=1)
    means = means - means.mean()
    left = n - np.arange(n // 2 + 1)
    sums, squares = (np.cumsum(x[::-1])[::-1][: len(left)] for x in (means, means**2))
    return 5 * int(np.argmin((squares - sums**2 / left) / left**2))


def batch_means(values: ArrayLike, batches: int = BATCHES) -> Floats:
    """Means of consecutive batches, as equal in size as whole numbers allow, (batches,)."""
    return np.array([part.mean() for part in np.array_split(np.asarray(values, dtype=np.float64), batches)])


def mean_of_series(values: ArrayLike, batches: int = 20, level: float = LEVEL) -> Interval:
    """Mean of one long, correlated, stationary series, by batch means (Law & Carson 1979).

    Covers the truth only where a batch is much longer than the series remembers; `independent_batches` tells.
    """
    return mean(batch_means(values, batches), level)


def independent_batches(means: Floats) -> float:
    """Effective sample size of batch means: b (1 - r) / (1 + r), r their correlation with the next.

    As for a first-order autoregressive series. At most b: negative correlation is not counted as a gain. b for a
    constant series. A series that wanders or grows across the whole run has few, however finely it is cut.
    """
    b = len(means)
    centred = means - means.mean()
    square = float((centred * centred).sum())
    if square <= 1e-24 * max(float((means * means).sum()), 1e-300):
        return float(b)
    # the estimate is too low by 1 / b, even without correlation
    r = float((centred[1:] * centred[:-1]).sum()) / square + 1 / b
    r = min(max(r, 0.0), 1 - 1 / b)
    return b * (1 - r) / (1 + r)


def ranks(values: Floats) -> Floats:
    """Ranks of values, from 0; those that are equal, but for rounding, share theirs.

    Of a series with a heavy tail they hang together as far as the series remembers, where its own correlations are
    those of the few largest values with what is beside them.
    """
    largest = float(np.abs(values).max()) if len(values) else 0.0
    rounded = np.round(values / largest, DIGITS) if largest > 0 else np.zeros(len(values))
    _, place, count = np.unique(rounded, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count + 1) / 2)[place])


def standard_error(values: Floats) -> float:
    """Standard error of the mean of independent values."""
    return float(values.std(ddof=1)) / math.sqrt(len(values))
