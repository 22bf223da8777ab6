"""Quality at least so high, at the least cost: the cheapest model whose predicted answer will do (arXiv 2403.12031).

With two models it is the router of RouteLLM and of the papers before it: a score says how likely the small one is to
answer well, and below the threshold the large one is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from llmsim.request import RequestView
from llmsim.router import FleetView, Router, check_pools, least_outstanding


@dataclass(frozen=True)
class Threshold(Router):
    """The first of `pools`, cheap ones before dear ones, whose predicted quality reaches `threshold`; or the last.

    Within a pool the fewest outstanding requests decide, ties go to the lowest number.
    """

    needs_quality: ClassVar[bool] = True
    pools: Sequence[str] = ()  #: from the cheapest to the dearest
    threshold: float = 0.5  #: least predicted quality that will do

    def __post_init__(self) -> None:
        check_pools(self.pools)

    def pools_named(self) -> Mapping[str, Sequence[str]]:
        """All of them."""
        return {"pools": self.pools}

    def route(self, request: RequestView, fleet: FleetView) -> int:
        """Go from the cheapest on."""
        told = request.predicted_quality
        if told is None or not self.pools:
            return least_outstanding(fleet, None)
        will_do = (pool for pool in self.pools if told[pool] >= self.threshold)
        return least_outstanding(fleet, next(will_do, self.pools[-1]))
