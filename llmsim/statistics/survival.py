"""Survival curves of waits of which some were cut short."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


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
