"""Offer a request to one instance after another, until one accepts it: the router of SLOs-Serve (arXiv 2504.08784).

A central controller has the planner of every instance, so that it knows what each would say. A request that all decline
goes where the fewest are outstanding, and is served there when there is time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llmsim.errors import InputError
from llmsim.request import RequestView
from llmsim.router import FleetView, Router


@dataclass(frozen=True)
class FirstFeasible(Router):
    """Instances take turns to be asked first."""

    reads: ClassVar[tuple[str, ...]] = ("reports", "plans")
    needs_declining: ClassVar[bool] = True
    offers: int = 0  #: how many instances are asked at most; 0: all

    def __post_init__(self) -> None:
        if self.offers < 0:
            raise InputError(f"offers is {self.offers}, expected 0 or more")

    def route(self, request: RequestView, fleet: FleetView) -> int:
        """Ask in turn."""
        for place in range(min(self.offers or fleet.size, fleet.size)):
            number = (fleet.routed + place) % fleet.size
            if fleet.accepts(number, request):
                return number
        return int(fleet.outstanding.argmin())
