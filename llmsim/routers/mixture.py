"""A share of the requests to each pool, at random: what a router that knows something has to beat.

RouterBench (arXiv 2403.12031) calls it the zero router: between two models it reaches every point of the line that
joins them in the plane of cost and quality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llmsim.request import RequestView
from llmsim.router import FleetView, Router, least_outstanding
from llmsim.scheduler import positive


@dataclass(frozen=True)
class Mixture(Router):
    """Each pool as often as its share says; within it the fewest outstanding requests decide. Without shares: all."""

    shares: Mapping[str, float] = field(default_factory=dict)  #: pool -> part of the requests, in proportion

    def __post_init__(self) -> None:
        positive(**{f"shares.{pool}": part for pool, part in self.shares.items()})

    def pools_named(self) -> Mapping[str, Sequence[str]]:
        """Those with a share."""
        return {"shares": list(self.shares)}

    def route(self, request: RequestView, fleet: FleetView) -> int:
        """Draw a pool."""
        left, chosen = fleet.rng.random() * sum(self.shares.values()), None
        for pool, part in self.shares.items():
            if left >= 0:
                left, chosen = left - part, pool
        return least_outstanding(fleet, chosen)
