"""Equal gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmsim.quantities import Positive
from llmsim.workload.arguments import positive, whole
from llmsim.workload.arrival_process import ArrivalProcess, Times


@dataclass(frozen=True)
class Constant(ArrivalProcess):
    """Equal gaps of 1 / rate_per_s; nothing is drawn."""

    rate_per_s: Positive  #: arrivals per second

    @classmethod
    def examples(cls) -> Sequence[Constant]:
        """At one rate."""
        return (cls(rate_per_s=4.0),)

    def times_s(self, rng: np.random.Generator, requests: int) -> Times:
        """Multiply the gap."""
        return np.arange(1, whole("requests", requests) + 1) / positive("rate_per_s", self.rate_per_s)
