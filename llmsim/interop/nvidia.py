"""What AIPerf took over from GenAI-Perf: metrics with their unit and statistics, under the same names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmsim.interop.place import known_number

UNIT_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "seconds": 1.0, "milliseconds": 1e-3}
STATISTICS = {"avg": "mean", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
#: theirs -> ours. Their inter-token latency is a mean for each request, which others call TPOT
LATENCIES = {
    "time_to_first_token": "ttft_s",
    "inter_token_latency": "tpot_s",
    "inter_chunk_latency": "tbt_s",
    "request_latency": "e2e_s",
}
AMOUNTS = {
    "output_token_throughput": "output_tokens_per_s",
    "total_token_throughput": "total_tokens_per_s",
    "request_throughput": "requests_per_s",
    "goodput": "goodput_requests_per_s",
    "request_goodput": "goodput_requests_per_s",
    "request_count": "requests.finished",
    "error_request_count": "requests.abandoned",
    "benchmark_duration": "duration_s",
    "total_osl": "output_tokens",
    "total_isl": "prompt_tokens",
}


def printed_of(summary: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a summary under the names of a score, in seconds and per second."""
    found: dict[str, float] = {}
    for theirs, ours in LATENCIES.items():
        metric = summary.get(theirs)
        unit_s = UNIT_S.get(str(metric.get("unit"))) if isinstance(metric, Mapping) else None
        if isinstance(metric, Mapping) and unit_s is not None:
            values = {name: known_number(metric.get(key)) for key, name in STATISTICS.items()}
            found |= {f"{ours}.{name}": value * unit_s for name, value in values.items() if value is not None}
    for theirs, ours in AMOUNTS.items():
        metric = summary.get(theirs)
        value = known_number(metric.get("avg")) if isinstance(metric, Mapping) else None
        if value is not None:
            found[ours] = value
    return found
