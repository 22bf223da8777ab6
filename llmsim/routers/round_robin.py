"""Each instance in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llmsim.request import RequestView
from llmsim.router import FleetView, Router


@dataclass(frozen=True)
class RoundRobin(Router):
    """Request k goes to instance k modulo the number of instances."""

    reads: ClassVar[tuple[str, ...]] = ()

    def route(self, request: RequestView, fleet: FleetView) -> int:
        """Take turns."""
        return fleet.routed % fleet.size
