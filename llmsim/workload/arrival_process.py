"""The contract of an arrival process: when requests reach the cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]


class ArrivalProcess(ABC):
    """What `workload.arrivals` of a scenario names: a frozen dataclass whose fields are its options.

    One file with one such class is all that a new process takes: in llmsim/workload/arrivals/, or as an entry point of
    the group ``llmsim.workload.arrivals``.
    """

    #: whether requests come at one mean rate, the option `rate_per_s`, at all times and whatever the server does
    steady: ClassVar[bool] = True

    @classmethod
    def examples(cls) -> Sequence[Self]:
        """Return some to test; override it where options have no defaults."""
        return (cls(),)

    @property
    def repeats_s(self) -> float | None:
        """Seconds after which the rate repeats itself; None where it does not change, or not so."""
        return None

    @abstractmethod
    def times_s(self, rng: np.random.Generator, requests: int) -> Times:
        """Draw arrival times in seconds, ascending, shape (requests,); all random numbers come from `rng`.

        The first request arrives after one gap, not at 0. More requests from the same stream begin with the same ones.
        Raises InputError for options that cannot be.
        """
