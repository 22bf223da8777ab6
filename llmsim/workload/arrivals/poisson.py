"""Poisson arrivals: exponential gaps, coefficient of variation (CV) 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmsim.quantities import Positive
from llmsim.workload.arguments import positive, whole
from llmsim.workload.arrival_process import ArrivalProcess, Times


@dataclass(frozen=True)
class Poisson(ArrivalProcess):
    """Exponential gaps of mean 1 / rate_per_s."""

    rate_per_s: Positive  #: mean arrivals per second

    @classmethod
    def examples(cls) -> Sequence[Poisson]:
        """At one rate."""
        return (cls(rate_per_s=4.0),)

    def times_s(self, rng: np.random.Generator, requests: int) -> Times:
        """Add up exponential gaps."""
        gap_s = 1.0 / positive("rate_per_s", self.rate_per_s)
        return np.cumsum(rng.exponential(gap_s, whole("requests", requests)))
