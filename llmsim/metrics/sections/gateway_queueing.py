"""How long requests wait at the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np

from llmsim.metrics.kpi import LESS, Kpi, OfRun
from llmsim.metrics.scored import Run
from llmsim.metrics.summary import Summary, summary
from llmsim.request import Outcome
from llmsim.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class GatewayQueueing(OfRun):
    """From sending to admission, of all attempts; those that were given up are censored when they were."""

    gateway_queueing_s: Annotated[
        Summary, Kpi("queueing at the gateway", "s", "latency", LESS, estimated=True, tail=True)
    ]

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether the gateway admits only so many requests at a time."""
        return scenario.gateway.max_concurrency is not None

    @classmethod
    def of(cls, run: Run) -> Self | None:
        """Summarise."""
        requests = run.record.requests
        waits_s = requests["admitted_s"] - requests["sent_s"]
        given_up_s = np.fmin(requests["left_s"], requests["end_s"]) - requests["sent_s"]
        waiting = np.isnan(waits_s) & ~np.isnan(given_up_s) & (requests["outcome"] != Outcome.REJECTED)
        return cls(summary(waits_s[~np.isnan(waits_s)], given_up_s[waiting]))
