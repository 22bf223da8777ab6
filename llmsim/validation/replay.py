"""Measured runs of real engines, request by request, and the same requests simulated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.cluster import InstanceSpec, simulate
from llmsim.routers.round_robin import RoundRobin
from llmsim.workload.contract import Workload

Floats = NDArray[np.float64]
METRICS = ("ttft_s", "tpot_s", "e2e_s")


@dataclass(frozen=True, eq=False)
class Latencies:
    """What clients of one run waited for, by request; seconds, shape (requests,)."""

    ttft_s: Floats
    tpot_s: Floats  #: (E2E - TTFT) / (tokens - 1); NaN for a single token
    e2e_s: Floats

    @classmethod
    def of(cls, ttft_s: Floats, e2e_s: Floats, output_tokens: NDArray[np.int64]) -> Latencies:
        """Derive TPOT from the others."""
        gaps = np.where(output_tokens > 1, output_tokens - 1, np.nan)
        return cls(ttft_s, (e2e_s - ttft_s) / gaps, e2e_s)

    def mean(self, metric: str) -> float:
        """Mean over the requests that have it."""
        return float(np.nanmean(getattr(self, metric)))


def replay(workload: Workload, instance: InstanceSpec) -> Latencies:
    """Serve the same arrivals, prompts and output lengths on one instance. All of them must finish."""
    requests = simulate(workload, [instance], RoundRobin(), np.random.default_rng(0)).requests
    ttft_s, e2e_s = (requests[name] - requests["arrival_s"] for name in ("first_token_s", "end_s"))
    return Latencies.of(ttft_s, e2e_s, requests["output_tokens"])
