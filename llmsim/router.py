"""The contract of a router: which instance gets an arrival."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmsim.request import RequestView


class FleetView(Protocol):
    """What a router may read of the cluster."""

    @property
    def now_s(self) -> float:
        """The clock, seconds."""

    @property
    def size(self) -> int:
        """How many instances there are; they are numbered from 0."""

    @property
    def routed(self) -> int:
        """How many requests have been routed so far."""

    @property
    def outstanding(self) -> NDArray[np.int64]:
        """Requests sent to each instance and not ended yet, shape (size,). Read only."""

    def cached_tokens(self, number: int, request: RequestView) -> int:
        """Tokens that a request would find in the prefix cache of an instance at this moment: news without age."""

    @property
    def rng(self) -> np.random.Generator:
        """The run's own stream of random numbers for routing."""


class Router(ABC):
    """One policy: one file in llmsim/routers/, named after the policy, with one subclass of this."""

    @abstractmethod
    def route(self, request: RequestView, fleet: FleetView) -> int:
        """Return the number of the instance that serves this request."""
