"""Measured runs of real engines, request by request, and the same requests simulated."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmsim.cluster import InstanceSpec, RunOptions, simulate
from llmsim.cluster.clients import DIRECT, ApiPath
from llmsim.engine.exchange import Disaggregation
from llmsim.record import Record
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
    requests_per_s: float = float("nan")  #: completed ones, from the first sending to the last token

    @classmethod
    def of(cls, ttft_s: Floats, e2e_s: Floats, output_tokens: NDArray[np.int64]) -> Latencies:
        """Derive TPOT from the others."""
        gaps = np.where(output_tokens > 1, output_tokens - 1, np.nan)
        return cls(ttft_s, (e2e_s - ttft_s) / gaps, e2e_s)

    def mean(self, metric: str) -> float:
        """Mean over the requests that have it."""
        return float(np.nanmean(getattr(self, metric)))


def replay(
    workload: Workload, instance: InstanceSpec, *, max_in_flight: int | None = None, api: ApiPath = DIRECT
) -> Latencies:
    """Serve the same arrivals, prompts and output lengths on one instance. All of them must finish.

    Latencies are the clients', from sending: to a cap's wait at the client they are blind, as benchmarks are.
    """
    return seen_by_clients(served(workload, instance, max_in_flight, api), api)


def seen_by_clients(record: Record, api: ApiPath = DIRECT) -> Latencies:
    """Latencies of requests that have all finished, from sending."""
    requests = record.requests
    sent_s, back_s = requests["sent_s"], api.response_s
    ttft_s, e2e_s = (requests[name] + back_s - sent_s for name in ("first_token_s", "end_s"))
    span_s = float(requests["end_s"].max() + back_s - sent_s.min())
    return replace(Latencies.of(ttft_s, e2e_s, requests["output_tokens"]), requests_per_s=len(sent_s) / span_s)


def served(workload: Workload, instance: InstanceSpec, max_in_flight: int | None, api: ApiPath) -> Record:
    """Serve a workload on one instance and return all that happened."""
    rng = np.random.default_rng(0)
    return simulate(workload, [instance], RoundRobin(), rng, RunOptions(max_in_flight=max_in_flight, api=api))


def served_disaggregated(
    workload: Workload, prefill: InstanceSpec, decode: InstanceSpec, rules: Disaggregation
) -> Record:
    """Serve a workload on an instance for prefill and one for decode and return all that happened."""
    return simulate(
        workload, [prefill, decode], RoundRobin(), np.random.default_rng(0), RunOptions(disaggregation=rules)
    )


def gaps_s(record: Record) -> Floats:
    """All gaps between two tokens of a request, one request after the other."""
    times = record.timelines()
    times_s = times.tokens_s(slice(None))
    request = np.repeat(times.request, times.count + ~np.isnan(times.head_s))
    gaps: Floats = np.diff(times_s)[request[1:] == request[:-1]]
    return gaps
