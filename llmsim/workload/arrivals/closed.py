"""A closed loop: so many clients, each with one request in flight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmsim.quantities import Count
from llmsim.workload.arguments import whole
from llmsim.workload.arrival_process import ArrivalProcess, Times


@dataclass(frozen=True)
class Closed(ArrivalProcess):
    """All requests are ready at 0, and clients have `concurrency` of them in flight; nothing is drawn."""

    concurrency: Count  #: clients, each of which sends its next request as soon as it has the last one's answer

    steady: ClassVar[bool] = False

    @classmethod
    def examples(cls) -> Sequence[Closed]:
        """A few clients."""
        return (cls(concurrency=3),)

    def times_s(self, rng: np.random.Generator, requests: int) -> Times:
        """Return zeros."""
        whole("concurrency", self.concurrency)
        return np.zeros(whole("requests", requests))
