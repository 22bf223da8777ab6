"""How requests ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import numpy as np

from llmsim.metrics.kpi import LESS, MORE, Kpi, OfRequests
from llmsim.metrics.scored import Requests
from llmsim.record import Timelines
from llmsim.request import Outcome


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes(OfRequests):
    """How many requests there are, and how they ended; the outcomes add up to the total."""

    key: ClassVar[str] = "requests"

    total: Annotated[int, Kpi("requests", kind="basis")]
    finished: Annotated[int, Kpi("finished", better=MORE)]
    #: given up by the server
    abandoned: Annotated[int, Kpi("abandoned", better=LESS)]
    #: given up by the user
    cancelled: Annotated[int, Kpi("cancelled", better=LESS)]
    rejected: Annotated[int, Kpi("rejected", better=LESS)]
    #: when the run ended
    unfinished: Annotated[int, Kpi("unfinished", better=LESS)]

    @classmethod
    def of(cls, requests: Requests) -> Self:
        """Count the requests of the window."""
        return cls.count(requests.counted)

    @classmethod
    def count(cls, timelines: Timelines) -> Self:
        """Count all requests of `timelines`."""
        counts = np.bincount(timelines.outcome, minlength=len(Outcome))
        return cls(len(timelines), **{outcome.name.lower(): int(counts[outcome]) for outcome in Outcome})
