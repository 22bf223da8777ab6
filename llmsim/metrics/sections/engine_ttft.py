"""TTFT as an engine sees it, behind gateway and API server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np

from llmsim.metrics.kpi import LESS, Kpi, Section
from llmsim.metrics.summary import Summary, summary
from llmsim.record import Record
from llmsim.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class EngineTtft(Section):
    """From the engine's queue to the token on its GPU, of all attempts; those without one are censored at their end."""

    engine_ttft_s: Annotated[
        Summary, Kpi("TTFT at the engine", "s", "latency", LESS, shown_in="ms", estimated=True, tail=True)
    ]

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether anything may lie between clients and engines; a host's profile may say that nothing does."""
        host = scenario.host.model_dump(exclude_none=True)
        return any(host.values()) or scenario.gateway.max_concurrency is not None

    @classmethod
    def of(cls, record: Record) -> Self:
        """Summarise."""
        requests = record.requests
        there = ~np.isnan(requests["queued_s"])
        ttft_s = requests["first_token_s"] - requests["queued_s"]
        never = np.isnan(ttft_s)
        ended_s = requests["end_s"] - requests["queued_s"]
        return cls(summary(ttft_s[~never], ended_s[never & there]))
