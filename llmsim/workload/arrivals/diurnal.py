"""Poisson arrivals at the rate of a day: a cosine around its mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from llmsim.errors import InputError
from llmsim.quantities import NotNegative, Positive
from llmsim.workload.arguments import not_negative, positive, whole
from llmsim.workload.arrival_process import ArrivalProcess, Times


@dataclass(frozen=True)
class Diurnal(ArrivalProcess):
    """Poisson process of rate rate_per_s (1 + amplitude cos(2 pi (t - peak_s) / period_s))."""

    rate_per_s: Positive  #: mean arrivals per second, over a period
    amplitude: Annotated[float, Field(ge=0, le=1)]  #: the rate at the peak is 1 + amplitude times the mean
    period_s: Positive = 86_400.0  #: length of the day
    peak_s: NotNegative = 43_200.0  #: when in the period the rate is highest

    steady: ClassVar[bool] = False

    @classmethod
    def examples(cls) -> Sequence[Diurnal]:
        """A short day whose night is silent."""
        return (cls(rate_per_s=4.0, amplitude=1.0, period_s=60.0, peak_s=20.0),)

    @property
    def repeats_s(self) -> float | None:
        """The length of the day."""
        return self.period_s

    def times_s(self, rng: np.random.Generator, requests: int) -> Times:
        """Change the time of a Poisson process of rate 1, the integral of the rate being inverted by bisection."""
        mean, swing = positive("rate_per_s", self.rate_per_s), not_negative("amplitude", self.amplitude)
        if swing > 1:
            raise InputError(f"amplitude = {swing!r}: expected from 0 to 1, or the rate would fall below 0")
        omega = 2 * math.pi / positive("period_s", self.period_s)
        peak_s = not_negative("peak_s", self.peak_s)
        expected_s = np.cumsum(rng.exponential(1.0, whole("requests", requests))) / mean
        offset = math.sin(omega * peak_s)
        low_s, high_s = expected_s - 2 * swing / omega, expected_s + 2 * swing / omega  # how far from the mean rate's
        for _ in range(100):
            middle_s = (low_s + high_s) / 2
            through_s = middle_s + swing / omega * (np.sin(omega * (middle_s - peak_s)) + offset)
            low_s = np.where(through_s < expected_s, middle_s, low_s)
            high_s = np.where(through_s < expected_s, high_s, middle_s)
        return np.maximum.accumulate(np.maximum(high_s, 0.0))
