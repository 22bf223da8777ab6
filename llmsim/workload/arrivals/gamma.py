"""Gamma gaps, as in vLLM's benchmark: burstier than Poisson, or more regular."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmsim.quantities import Positive
from llmsim.workload.arguments import positive, whole
from llmsim.workload.arrival_process import ArrivalProcess, Times


@dataclass(frozen=True)
class Gamma(ArrivalProcess):
    """Gamma gaps of mean 1 / rate_per_s and CV 1 / sqrt(burstiness): shape burstiness, scale their quotient."""

    rate_per_s: Positive  #: mean arrivals per second
    #: shape of the gamma distribution of gaps: 1 is Poisson, below 1 is burstier
    burstiness: Positive
    #: stretch all times so that the last is exactly requests / rate_per_s, as vLLM's benchmark does
    rescale: bool = False

    @classmethod
    def examples(cls) -> Sequence[Gamma]:
        """Burstier than Poisson; a rescaled one depends on how many requests there are."""
        return (cls(rate_per_s=4.0, burstiness=0.5),)

    def times_s(self, rng: np.random.Generator, requests: int) -> Times:
        """Add up gamma gaps."""
        mean_s = 1.0 / positive("rate_per_s", self.rate_per_s)
        shape = positive("burstiness", self.burstiness)
        arrival_s = np.cumsum(rng.gamma(shape, mean_s / shape, whole("requests", requests)))
        return arrival_s * (requests * mean_s / arrival_s[-1]) if self.rescale else arrival_s
