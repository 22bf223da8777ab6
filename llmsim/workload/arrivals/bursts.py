"""Finite bursts: so many requests each, one burst after another, and silence in which they are served to the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmsim.errors import InputError
from llmsim.quantities import Positive
from llmsim.workload.arguments import positive, whole
from llmsim.workload.arrival_process import ArrivalProcess, Times


@dataclass(frozen=True)
class Bursts(ArrivalProcess):
    """Every `every_s` seconds a burst of rate_per_s * every_s requests, uniform over its `burst_s` seconds.

    That is a Poisson process given its number, of rate rate_per_s * every_s / burst_s; a number that is not whole is
    that on average. Where a server is idle before the next burst, numbers of whole bursts do not depend on how many
    there are: whatever the load within a burst, no queue grows with the length of the run.
    """

    rate_per_s: Positive  #: mean arrivals per second, over bursts and silences
    burst_s: Positive  #: length of each burst
    every_s: Positive  #: from the start of one burst to the start of the next

    steady: ClassVar[bool] = False

    @classmethod
    def examples(cls) -> Sequence[Bursts]:
        """Of a whole number of requests, and not."""
        return cls(rate_per_s=2.0, burst_s=2.0, every_s=6.0), cls(rate_per_s=0.7, burst_s=1.0, every_s=5.0)

    @property
    def repeats_s(self) -> float | None:
        """A burst and the silence after it."""
        return self.every_s

    def times_s(self, rng: np.random.Generator, requests: int) -> Times:
        """Draw whole bursts, sort each, and keep the first requests."""
        if not positive("burst_s", self.burst_s) <= positive("every_s", self.every_s):
            raise InputError(f"burst_s = {self.burst_s:g}: expected at most every_s, {self.every_s:g}")
        each = positive("rate_per_s", self.rate_per_s) * self.every_s
        number = whole("requests", requests)
        drawn = np.floor(np.arange(number + int(each) + 1) / each)  # the burst of each request, one burst too many
        arrival_s = drawn * self.every_s + rng.random(len(drawn)) * self.burst_s
        return np.sort(arrival_s)[:number]
