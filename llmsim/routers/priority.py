"""Classes of service have pools of their own, in order of priority."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmsim.request import RequestView
from llmsim.router import FleetView, Router


@dataclass(frozen=True)
class Priority(Router):
    """Requests of priority 0 go to the first of `pools`, of 1 to the second, all later ones to the last.

    With `share` they may go to the pools of later classes too; less urgent requests never go to theirs. Within what
    is open to a request the fewest outstanding requests decide, ties go to the pools of its own class, then to the
    lowest number. Without `pools` all are open to all.
    """

    pools: Sequence[str] = ()  #: by priority: the pool of class 0, of class 1, ..., of all later classes
    share: bool = False  #: whether requests may also go to the pools of less urgent classes

    def __post_init__(self) -> None:
        if len(set(self.pools)) < len(self.pools):
            raise ValueError(f"pools = {list(self.pools)}, expected every pool once")

    def pools_named(self) -> Mapping[str, Sequence[str]]:
        """All of them."""
        return {"pools": self.pools}

    def route(self, request: RequestView, fleet: FleetView) -> int:
        """Find the pools of the class, then the idlest instance."""
        own = min(max(request.priority, 0), len(self.pools) - 1)
        open_to_it = self.pools[own:] if self.share else self.pools[own : own + 1]
        numbers = np.concatenate([fleet.pools[name] for name in open_to_it]) if self.pools else np.arange(fleet.size)
        return int(numbers[fleet.outstanding[numbers].argmin()])
