"""Summaries of samples: mean, percentiles, and how many values these rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmsim.metrics.kpi import Part
from llmsim.record import Floats
from llmsim.statistics.percentiles import Population, percentiles_of
from llmsim.statistics.survival import kaplan_meier, restricted_mean, survival_percentile

PERCENTILES = (50.0, 90.0, 99.0)
#: fields of a `Summary` that are values; the others count
STATISTICS = ("mean", "p50", "p90", "p99")
#: those of them that describe a system only where a run is steady
TAIL_STATISTICS = ("p99",)


@dataclass(frozen=True, slots=True, eq=False)
class Summary(Part):
    """Statistics of a sample; None where there is nothing to say: n = 0, or a percentile not reached."""

    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    n: int  #: values that these rest on
    censored: int  #: how many were cut short


def summary(values: Floats, censored_at: Floats | None = None) -> Summary:
    """Summarise values (n,), and waits that were cut short at `censored_at` (censored,).

    Without censoring: the mean and NumPy's linear percentiles. With it: Kaplan-Meier percentiles, and the
    restricted mean up to the longest time seen.
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


def pooled_summary(values: Population, total: float, censored: int = 0) -> Summary:
    """Like `summary` for values with this sum; `censored` is reported, not estimated."""
    mean = total / values.n if values.n else float("nan")
    return _named(mean, percentiles_of(values, PERCENTILES), values.n, censored)


def _named(mean: float, percentiles: Sequence[float], n: int, censored: int) -> Summary:
    p50, p90, p99 = (number(p) for p in percentiles)
    return Summary(number(mean), p50, p90, p99, n, censored)


def number(value: float) -> float | None:
    """A plain float for JSON; None for NaN and infinities."""
    return float(value) if np.isfinite(value) else None
