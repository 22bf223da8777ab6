"""How long requests wait at their clients, before they are sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import numpy as np

from llmsim.metrics.kpi import LESS, Kpi, OfRun
from llmsim.metrics.scored import Run
from llmsim.metrics.summary import Summary, summary
from llmsim.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class ClientQueueing(OfRun):
    """Waits from arrival to sending, of all requests of the run; those never sent are censored at its end.

    In a closed loop there is no such wait: a request exists only once its client has the answer to the last one.
    """

    always: ClassVar[bool] = True

    client_queueing_s: Annotated[
        Summary, Kpi("queueing at the client", "s", "latency", LESS, estimated=True, tail=True)
    ]

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether clients hold requests back."""
        return scenario.clients.max_in_flight is not None

    @classmethod
    def of(cls, run: Run) -> Self:
        """Summarise."""
        requests = run.record.requests
        waits_s = requests["sent_s"] - requests["arrival_s"]
        never = np.isnan(waits_s)
        return cls(summary(waits_s[~never], (requests["end_s"] - requests["arrival_s"])[never]))
