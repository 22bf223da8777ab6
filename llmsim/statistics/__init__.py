"""How sure a number is: intervals, warm-up, and whether a run may speak of a steady state at all.

Plain arrays in, plain numbers out; knows nothing of engines or scenarios.
"""

from __future__ import annotations

from llmsim.statistics.intervals import (
    Interval,
    bootstrap,
    mean,
    paired_difference,
    probability_at_least,
    quantile,
)
from llmsim.statistics.series import batch_means, independent_batches, mean_of_series, mser5, time_averages
from llmsim.statistics.steady import OVERLOADED, STEADY, TOO_SHORT, UNSERVED, Arrivals, Verdict, judge

__all__ = [
    "OVERLOADED",
    "STEADY",
    "TOO_SHORT",
    "UNSERVED",
    "Arrivals",
    "Interval",
    "Verdict",
    "batch_means",
    "bootstrap",
    "independent_batches",
    "judge",
    "mean",
    "mean_of_series",
    "mser5",
    "paired_difference",
    "probability_at_least",
    "quantile",
    "time_averages",
]
