"""Latencies of requests and of the gaps between tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from llmsim.metrics import request_latency
from llmsim.metrics.kpi import LESS, Kpi, OfRequests
from llmsim.metrics.scored import Requests
from llmsim.metrics.summary import Summary


@dataclass(frozen=True, slots=True, eq=False)
class Latencies(OfRequests):
    """Summaries of `llmsim.metrics.request_latency`, in seconds from the arrival."""

    ttft_s: Annotated[Summary | None, Kpi("TTFT", "s", "latency", LESS, shown_in="ms", estimated=True, tail=True)]
    tpot_s: Annotated[Summary | None, Kpi("TPOT", "s", "latency", LESS, shown_in="ms", sample="per request", tail=True)]
    tbt_s: Annotated[
        Summary | None, Kpi("ITL", "s", "latency", LESS, shown_in="ms", also=("TBT",), sample="of all gaps", tail=True)
    ]
    e2e_s: Annotated[Summary, Kpi("E2E", "s", "latency", LESS, shown_in="ms", estimated=True, tail=True)]
    #: until first scheduled
    queueing_s: Annotated[
        Summary | None, Kpi("queueing", "s", "latency", LESS, shown_in="ms", estimated=True, tail=True)
    ]

    @classmethod
    def of(cls, requests: Requests) -> Self:
        """Summarise; no queueing delay where it is not known when requests were scheduled."""
        timelines, scheduled_s = requests.counted, requests.first_scheduled_s
        queueing = None
        if scheduled_s is not None:
            waits_s = request_latency.queueing_s(timelines, scheduled_s)
            queueing = request_latency.summarise_waits(timelines, waits_s)
        return cls(
            request_latency.summarise_waits(timelines, request_latency.ttft_s(timelines)),
            request_latency.summarise_tpot(timelines),
            request_latency.summarise_tbt(timelines),
            request_latency.summarise_waits(timelines, request_latency.e2e_s(timelines)),
            queueing,
        )
