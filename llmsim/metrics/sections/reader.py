"""What rests on the reader: smooth goodput, and how long readers sit idle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np

from llmsim.metrics import ranges, smooth_goodput
from llmsim.metrics.kpi import LESS, MORE, Kpi, OfRequests
from llmsim.metrics.scored import Requests
from llmsim.metrics.summary import Summary, number, summary
from llmsim.metrics.window import per_second
from llmsim.request import Outcome


@dataclass(frozen=True, slots=True, eq=False)
class Reading(OfRequests):
    """Benefits and idle latencies of `llmsim.metrics.smooth_goodput`; readers of dropped requests are charged."""

    smooth_goodput_tokens_per_s: Annotated[
        float | None, Kpi("smooth goodput", "tokens/s", "rate", MORE, short="smooth")
    ]
    idle_latency_s: Annotated[Summary | None, Kpi("idle latency", "s", "time", LESS, tail=True)]

    @classmethod
    def of(cls, requests: Requests) -> Self:
        """Measure; nothing without a reader."""
        timelines, user = requests.counted, requests.user
        if user is None:
            return cls(None, None)
        idle_s = smooth_goodput.idle_latency_s(timelines, user, end_s=requests.end_s)
        n_tokens, finished = ranges.n_tokens(timelines), timelines.outcome == Outcome.FINISHED
        penalty = smooth_goodput.penalty_tokens(idle_s, n_tokens, finished, user)
        total = float((n_tokens - penalty).sum())
        return cls(number(per_second(total, requests.span)), summary(np.maximum(idle_s, 0.0)))
