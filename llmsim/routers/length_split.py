"""Split by length: long prompts have instances of their own, so that short ones do not wait behind them.

The rule of size-interval task assignment (SITA: Harchol-Balter, Crovella & Murta, JPDC 1999) with one cut, and join the
shortest queue within each side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from llmsim.request import RequestView
from llmsim.router import FleetView, Router
from llmsim.scheduler import positive


@dataclass(frozen=True)
class LengthSplit(Router):
    """Prompts of up to `threshold_tokens` go to the pool `short`, longer ones to the pool `long`.

    Pools left out: the instances are cut in two by number, `long_instances` of them, the last, for long prompts; a
    single instance serves both. Within a side the fewest outstanding requests decide, ties go to the lowest number.
    """

    splits: ClassVar[bool] = True
    threshold_tokens: int = 2048  #: the longest prompt that counts as short
    short: str | None = None  #: pool for short prompts
    long: str | None = None  #: pool for long prompts
    long_instances: int = 1  #: without pools: how many instances, the last ones, serve long prompts

    def __post_init__(self) -> None:
        positive(threshold_tokens=self.threshold_tokens, long_instances=self.long_instances)
        if (self.short is None) != (self.long is None):
            raise ValueError("short and long name a pool each; give both or neither")

    def pools_named(self) -> Mapping[str, Sequence[str]]:
        """Both sides."""
        return {} if self.short is None or self.long is None else {"short": [self.short], "long": [self.long]}

    def route(self, request: RequestView, fleet: FleetView) -> int:
        """Choose the side, then its idlest instance."""
        side = self._side(request.prompt_tokens > self.threshold_tokens, fleet)
        return int(side[fleet.outstanding[side].argmin()])

    def _side(self, is_long: bool, fleet: FleetView) -> NDArray[np.int64]:
        if self.short is not None and self.long is not None:
            return fleet.pools[self.long if is_long else self.short]
        cut = max(fleet.size - self.long_instances, min(1, fleet.size - 1))
        return np.arange(cut, fleet.size) if is_long or cut == 0 else np.arange(cut)
