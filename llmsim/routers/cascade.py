"""Ask the cheap model first, and a dear one only if a judge finds the answer wanting (FrugalGPT, arXiv 2305.05176).

The user gets the last answer and waits for all of them; the GPUs work for all of them, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from llmsim.errors import InputError
from llmsim.request import RequestView
from llmsim.router import FleetView, Judge, Router, check_pools, least_outstanding
from llmsim.scheduler import share


@dataclass(frozen=True)
class Cascade(Router):
    """The first of `pools`, then the next for every answer that fails. Within a pool: the fewest outstanding."""

    needs_quality: ClassVar[bool] = True
    pools: Sequence[str] = ()  #: in the order in which they are asked
    accept: float = 0.5  #: least quality that a judge without error lets pass
    judge_error: float = 0.0  #: share of the answers of which the judge says the opposite
    judge_s: float = 0.0  #: how long it takes, from the last token on

    def __post_init__(self) -> None:
        check_pools(self.pools)
        share(judge_error=self.judge_error)
        if self.judge_s < 0:
            raise InputError(f"judge_s = {self.judge_s:g}, expected seconds, not negative")

    def pools_named(self) -> Mapping[str, Sequence[str]]:
        """All of them."""
        return {"pools": self.pools}

    def judge(self) -> Judge | None:
        """Answers of all pools but the last are judged."""
        return Judge(self.pools, self.accept, self.judge_error, self.judge_s)

    def route(self, request: RequestView, fleet: FleetView) -> int:
        """As many pools on as have answered."""
        return least_outstanding(fleet, self.pools[request.attempt] if self.pools else None)
