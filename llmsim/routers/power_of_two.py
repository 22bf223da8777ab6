"""Power of two choices (Mitzenmacher, IEEE TPDS 2001): nearly as even as comparing all, with two looks."""

from __future__ import annotations

from dataclasses import dataclass

from llmsim.request import RequestView
from llmsim.router import FleetView, Router


@dataclass(frozen=True)
class PowerOfTwo(Router):
    """Draw two different instances, take the one with fewer outstanding requests; ties go to the first drawn."""

    def route(self, request: RequestView, fleet: FleetView) -> int:
        """Compare two."""
        if fleet.size == 1:
            return 0
        first = int(fleet.rng.integers(fleet.size))
        second = int(fleet.rng.integers(fleet.size - 1))
        second += second >= first
        return first if fleet.outstanding[first] <= fleet.outstanding[second] else second
