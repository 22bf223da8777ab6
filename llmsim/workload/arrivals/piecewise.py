"""Poisson arrivals at a rate that changes at given times, and may begin anew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from llmsim.errors import InputError
from llmsim.quantities import NotNegative, Positive
from llmsim.workload.arguments import whole
from llmsim.workload.arrival_process import ArrivalProcess, Times

Numbers = Annotated[tuple[NotNegative, ...], Field(min_length=1, strict=False)]


@dataclass(frozen=True)
class Piecewise(ArrivalProcess):
    """Poisson process whose rate is `rates_per_s[i]` from `from_s[i]` on, and begins anew every `period_s`.

    Without a period the last rate lasts for ever, so it must be above 0.
    """

    from_s: Numbers  #: when each rate begins; the first is 0
    rates_per_s: Numbers  #: arrivals per second from the time in `from_s` at the same place
    period_s: Positive | None = None  #: after this time the rates begin anew

    steady: ClassVar[bool] = False

    @classmethod
    def examples(cls) -> Sequence[Piecewise]:
        """With a silence, once and again and again."""
        curve = (0.0, 5.0, 7.0), (2.0, 0.0, 9.0)
        return cls(*curve, period_s=11.0), cls(*curve)

    @property
    def repeats_s(self) -> float | None:
        """When the rates begin anew."""
        return self.period_s

    def times_s(self, rng: np.random.Generator, requests: int) -> Times:
        """Change the time of a Poisson process of rate 1: request k comes when the rate's integral reaches its time."""
        period_s = self.period_s
        starts_s, rates = np.array(self.from_s, dtype=np.float64), np.array(self.rates_per_s, dtype=np.float64)
        _check_curve(starts_s, rates, period_s)
        expected = np.cumsum(rng.exponential(1.0, whole("requests", requests)))  # requests since the start of the curve
        before = np.concatenate([[0.0], np.cumsum(rates[:-1] * np.diff(starts_s))])
        turn_s: Times | float = 0.0
        if period_s is not None:
            each = before[-1] + rates[-1] * (period_s - starts_s[-1])
            rounds = np.floor(expected / each)
            turn_s, expected = rounds * period_s, np.maximum(expected - rounds * each, 0.0)
        piece = np.searchsorted(before, expected, side="right") - 1
        with np.errstate(invalid="ignore"):
            inside_s = np.where(rates[piece] > 0, (expected - before[piece]) / rates[piece], 0.0)
        return np.maximum.accumulate(turn_s + starts_s[piece] + inside_s)


def _check_curve(starts_s: Times, rates: Times, period_s: float | None) -> None:
    if len(starts_s) != len(rates) or len(rates) == 0:
        raise InputError(f"rates_per_s = {rates.tolist()}: expected as many as from_s has, {len(starts_s)}")
    if starts_s[0] != 0 or (np.diff(starts_s) <= 0).any() or not np.isfinite(starts_s).all():
        raise InputError(f"from_s = {starts_s.tolist()}: expected times that rise from 0")
    if (rates < 0).any() or not np.isfinite(rates).all() or not rates.any():
        raise InputError(f"rates_per_s = {rates.tolist()}: expected rates of at least 0, and one above")
    if period_s is None and rates[-1] == 0:
        raise InputError(f"rates_per_s = {rates.tolist()}: expected a last rate above 0, or period_s")
    if period_s is not None and not (math.isfinite(period_s) and period_s > starts_s[-1]):
        raise InputError(f"period_s = {period_s}: expected more than the last of from_s, {starts_s[-1]:g}")
