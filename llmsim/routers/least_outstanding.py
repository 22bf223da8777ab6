"""Join the shortest queue."""

from __future__ import annotations

from dataclasses import dataclass

from llmsim.request import RequestView
from llmsim.router import FleetView, Router


@dataclass(frozen=True)
class LeastOutstanding(Router):
    """The instance with the fewest requests that have not ended; ties go to the lowest number."""

    def route(self, request: RequestView, fleet: FleetView) -> int:
        """Compare all."""
        return int(fleet.outstanding.argmin())
