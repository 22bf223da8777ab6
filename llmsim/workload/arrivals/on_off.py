"""Bursts: Poisson arrivals for a while, then silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmsim.quantities import NotNegative, Positive
from llmsim.workload.arguments import not_negative, positive
from llmsim.workload.arrival_process import ArrivalProcess, Times
from llmsim.workload.arrivals.poisson import Poisson


@dataclass(frozen=True)
class OnOff(ArrivalProcess):
    """In turns, `on_s` seconds of Poisson arrivals and `off_s` of silence, from the start of a burst.

    Within a burst the rate is rate_per_s * (on_s + off_s) / on_s.
    """

    rate_per_s: Positive  #: mean arrivals per second, over bursts and silences
    on_s: Positive  #: length of each period with arrivals
    off_s: NotNegative  #: length of each period without arrivals

    @classmethod
    def examples(cls) -> Sequence[OnOff]:
        """Silent most of the time."""
        return (cls(rate_per_s=4.0, on_s=2.0, off_s=5.0),)

    @property
    def repeats_s(self) -> float | None:
        """A burst and a silence."""
        return self.on_s + self.off_s if self.off_s > 0 else None

    def times_s(self, rng: np.random.Generator, requests: int) -> Times:
        """Draw Poisson arrivals on a clock that stands still in the silences."""
        cycle_s = positive("on_s", self.on_s) + not_negative("off_s", self.off_s)
        burst_rate_per_s = positive("rate_per_s", self.rate_per_s) * cycle_s / self.on_s
        busy_s = Poisson(burst_rate_per_s).times_s(rng, requests)
        return busy_s + np.floor(busy_s / self.on_s) * self.off_s
