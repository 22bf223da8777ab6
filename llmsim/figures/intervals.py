"""Means with 95 % intervals over seeds (Student's t), and where a curve over rates peaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmsim.record import Floats

#: 97.5 % points of Student's t for 1, 2, … 30 degrees of freedom
T975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % interval."""

    mean: float
    half_width: float
    n: int

    @property
    def positive(self) -> bool:
        """The whole interval lies above 0."""
        return self.mean - self.half_width > 0

    @property
    def negative(self) -> bool:
        """The whole interval lies below 0."""
        return self.mean + self.half_width < 0

    def __str__(self) -> str:
        decimals = 0 if self.half_width >= 10 else 1 if self.half_width >= 1 else 2
        return f"{round(self.mean, decimals) + 0.0:.{decimals}f} ± {self.half_width:.{decimals}f}"


def interval(values: Floats) -> Interval:
    """Mean and interval of independent values, one a seed, (S,)."""
    n = len(values)
    half = T975[min(n - 2, 29)] * float(np.std(values, ddof=1)) / n**0.5 if n > 1 else float("nan")
    return Interval(float(np.mean(values)), half, n)


def half_widths(values: Floats) -> Floats:
    """Half-widths of the intervals of each row, (R, S) to (R,)."""
    return np.array([interval(row).half_width for row in values])


def peaks(rates_per_s: Floats, values: Floats) -> Floats:
    """Rate at which each column of `values` (R, S) peaks, (S,): top of a parabola through the highest three points."""
    return np.array([_peak(rates_per_s, column) for column in values.T])


def _peak(rates_per_s: Floats, values: Floats) -> float:
    top = int(np.argmax(values))
    if top in (0, len(values) - 1):
        return float(rates_per_s[top])
    x, y = rates_per_s[top - 1 : top + 2], values[top - 1 : top + 2]
    left, right = (y[1] - y[0]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
    bend = (right - left) / (x[2] - x[0])
    if bend == 0:
        return float(x[1])
    return float(np.clip((x[0] + x[1]) / 2 - left / (2 * bend), x[0], x[2]))


def crossing(rates_per_s: Floats, values: Floats) -> float:
    """Rate at which a difference (R,) last turns from above 0 to below, linear in between; NaN if it never does."""
    turns = np.flatnonzero((values[:-1] > 0) & (values[1:] <= 0))
    if not len(turns):
        return float("nan")
    i = int(turns[-1])
    share = values[i] / (values[i] - values[i + 1])
    return float(rates_per_s[i] + share * (rates_per_s[i + 1] - rates_per_s[i]))
