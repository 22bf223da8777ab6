"""A run as AIPerf exports one: a record for each request, and the summary of those that were served."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsim.interop.saving import Served, gaps_s
from llmsim.record import Floats

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)


def records(served: Served) -> list[dict[str, Any]]:
    """Lines of profile_export.jsonl (AIPerf 0.13); the clock begins with the run."""
    done = set(served.served)
    return [_record(served, i, i in done) for i in range(len(served.timelines))]


def _record(served: Served, i: int, done: bool) -> dict[str, Any]:
    times_s, sent_s = served.tokens_s[i], float(served.sent_s[i])
    end_s = float(served.timelines.end_s[i] - served.timelines.arrival_s[i]) if not done else float(times_s[-1:].sum())
    metadata = {
        "session_num": i,
        "x_request_id": str(i),
        "conversation_id": str(i),
        "turn_index": 0,
        "request_start_ns": round(1e9 * sent_s),
        "request_end_ns": round(1e9 * (sent_s + end_s)),
        "worker_id": "llmsim",
        "record_processor_id": "llmsim",
        "benchmark_phase": "profiling",
        "was_cancelled": False,
    }
    prompt = {"value": int(served.timelines.prompt_tokens[i]), "unit": "tokens"}
    if not done:
        error = {"code": None, "type": "NotServed", "message": served.errors[i]}
        return {"metadata": metadata, "metrics": {"error_isl": prompt}, "error": error}
    return {"metadata": metadata, "metrics": {"input_sequence_length": prompt, **_metrics(times_s)}, "error": None}


def _metrics(times_s: Floats) -> dict[str, Any]:
    n = len(times_s)
    found: dict[str, Any] = {"output_sequence_length": {"value": n, "unit": "tokens"}, "request_latency": _ms(0.0)}
    if n:
        found |= {"time_to_first_token": _ms(times_s[0]), "request_latency": _ms(times_s[-1])}
        found["inter_chunk_latency"] = {"value": (1e3 * gaps_s(times_s)).tolist(), "unit": "ms"}
    if n > 1:
        found["inter_token_latency"] = _ms((times_s[-1] - times_s[0]) / (n - 1))
    return found


def _ms(seconds: float) -> dict[str, Any]:
    return {"value": 1e3 * float(seconds), "unit": "ms"}


def summary(served: Served) -> dict[str, Any]:
    """profile_export_aiperf.json (schema 1.4)."""
    some = [served.tokens_s[i] for i in served.served if len(served.tokens_s[i])]
    several = [times_s for times_s in some if len(times_s) > 1]
    mean_gaps_s = np.array([(times_s[-1] - times_s[0]) / (len(times_s) - 1) for times_s in several])
    output, prompt = served.n_tokens[served.served], served.timelines.prompt_tokens[served.served]
    ms = {
        "time_to_first_token": np.array([times_s[0] for times_s in some]),
        "time_to_second_token": np.array([times_s[1] - times_s[0] for times_s in several]),
        "inter_token_latency": mean_gaps_s,
        "inter_chunk_latency": np.concatenate([np.empty(0), *(gaps_s(times_s) for times_s in several)]),
        "request_latency": np.array([times_s[-1] for times_s in some]),
    }
    of_each = {name: _distribution(1e3 * values, "ms") for name, values in ms.items()}
    of_each["output_token_throughput_per_user"] = _distribution(1.0 / mean_gaps_s[mean_gaps_s > 0], "tokens/sec/user")
    of_each["output_sequence_length"] = _distribution(output.astype(np.float64), "tokens")
    of_each["input_sequence_length"] = _distribution(prompt.astype(np.float64), "tokens")
    seconds = served.duration_s
    per_s = (lambda amount: amount / seconds) if seconds else (lambda amount: 0.0)
    amounts = {
        "output_token_throughput": ("tokens/sec", per_s(int(output.sum()))),
        "total_token_throughput": ("tokens/sec", per_s(int(output.sum() + prompt.sum()))),
        "request_throughput": ("requests/sec", per_s(len(served.served))),
        "request_count": ("requests", float(len(served.served))),
        "error_request_count": ("requests", float(len(served.timelines) - len(served.served))),
        "benchmark_duration": ("sec", seconds),
        "total_osl": ("tokens", float(output.sum())),
        "total_isl": ("tokens", float(prompt.sum())),
    }
    totals = {name: {"unit": unit, "avg": value} for name, (unit, value) in amounts.items()}
    kept = {name: one for name, one in of_each.items() if one is not None}
    return {"schema_version": "1.4", **kept, **totals, "was_cancelled": False}


def _distribution(values: Floats, unit: str) -> dict[str, Any] | None:
    """A metric's block; None without values."""
    n = len(values)
    if n == 0:
        return None
    quantiles = {f"p{q}": float(np.percentile(values, q)) for q in PERCENTILES}
    edges = {"min": float(values.min()), "max": float(values.max())}
    spread = float(values.std(ddof=1)) if n > 1 else 0.0
    return {
        "unit": unit, "avg": float(values.mean()), **quantiles, **edges, "std": spread, "count": n,
        "sum": float(values.sum()),
    }  # fmt: skip
