"""A random instance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llmsim.request import RequestView
from llmsim.router import FleetView, Router


@dataclass(frozen=True)
class Random(Router):
    """Every instance is equally likely."""

    reads: ClassVar[tuple[str, ...]] = ()

    def route(self, request: RequestView, fleet: FleetView) -> int:
        """Draw one."""
        return int(fleet.rng.integers(fleet.size))
