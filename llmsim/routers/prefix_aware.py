"""Longest cached prefix against load, in the manner of SGLang's cache-aware router.

While the fleet is balanced, a request goes where most of its prompt is cached, if that is enough of it; if not, or if
the fleet is out of balance, it goes where the fewest requests are. Here the router knows what every instance has cached
at this moment; SGLang's keeps a tree of the prompts that it has sent, which takes evictions on trust.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmsim.request import RequestView
from llmsim.router import FleetView, Router
from llmsim.scheduler import positive, share


@dataclass(frozen=True)
class PrefixAware(Router):
    """Cache first, unless load is uneven or there is little to gain; ties go to fewer requests, then lower numbers.

    Load is as old as the scenario's reports, what is cached is always the present: results say so.
    """

    reads: ClassVar[tuple[str, ...]] = ("reports", "caches")
    cache_threshold: float = 0.3  #: least share of the prompt that must be cached to be worth following
    balance_abs_threshold: int = 64  #: the fleet is out of balance if the busiest instance has so many requests more
    balance_rel_threshold: float = 1.5  #: and this many times those of the idlest

    def __post_init__(self) -> None:
        share(cache_threshold=self.cache_threshold)
        positive(balance_abs_threshold=self.balance_abs_threshold, balance_rel_threshold=self.balance_rel_threshold)

    def route(self, request: RequestView, fleet: FleetView) -> int:
        """Weigh the longest match against load."""
        load = fleet.outstanding
        idlest = int(load.argmin())
        least, most = int(load[idlest]), int(load[load.argmax()])  # of a few instances, max takes five times as long
        if most - least > self.balance_abs_threshold and most > self.balance_rel_threshold * least:
            return idlest
        cached = fleet.cached(request)
        longest = int(cached[cached.argmax()])
        if longest <= self.cache_threshold * request.prompt_tokens:
            return idlest
        return int(np.where(cached == longest, load, most + 1).argmin())
