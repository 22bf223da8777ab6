"""Results of inference-perf: requests (per_request_lifecycle_metrics), and its summaries of a stage or the whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from llmsim.errors import InputError
from llmsim.interop.answers import Answer, each
from llmsim.interop.document import Document
from llmsim.interop.format import Format
from llmsim.interop.measured import Load, MeasuredResult, of_answers, of_summary, printed_numbers
from llmsim.interop.place import Place, known_number
from llmsim.request import Outcome

LATENCIES = {
    "time_to_first_token": "ttft_s",
    "time_per_output_token": "tpot_s",
    "inter_token_latency": "tbt_s",
    "request_latency": "e2e_s",
}
STATISTICS = {"mean": "mean", "median": "p50", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
RATES = {
    "requests_per_sec": ("requests_per_s", 1.0),
    "output_tokens_per_sec": ("output_tokens_per_s", 1.0),
    "total_tokens_per_sec": ("total_tokens_per_s", 1.0),
}
#: keys of a request's info, or of its computed metrics
OF_A_REQUEST = frozenset(
    {"request_metrics", "response_metrics", "input_tokens", "output_tokens", "output_token_times", "request_latency"}
)
LACKS = "a summary: its requests are in per_request_lifecycle_metrics.json (report.request_lifecycle.per_request: true)"


class InferencePerf(Format):
    """inference-perf's reports; all its times are in seconds."""

    tool = "inference-perf"

    @classmethod
    def recognises(cls, document: Document) -> bool:
        """A request's start, end, and info or computed metrics; or successes beside the load."""
        first = document.first
        parts = [first.get(key) for key in ("info", "computed_metrics")]
        if {"start_time", "end_time"} <= first.keys() and any(
            isinstance(part, Mapping) and bool(OF_A_REQUEST & part.keys()) for part in parts
        ):
            return True
        return isinstance(document.whole.get("successes"), Mapping) and bool(
            {"load_summary", "failures", "benchmark_time_seconds"} & document.whole.keys()
        )

    @classmethod
    def read(cls, document: Document) -> list[MeasuredResult]:
        """One run. InputError names file, request and field of what makes it useless."""
        if document.whole:
            return [_summary(document.path, document.whole)]
        requests = document.objects
        answers, odd = each(len(requests), lambda i: _answer(Place(document.path, f"request {i}"), requests[i]))
        return [of_answers(cls.tool, answers, notes=odd)]


def _answer(place: Place, request: Any) -> Answer:
    request = place.table("the request", request)
    start_s = place.number("start_time", request.get("start_time"))
    end_s = place.number("end_time", request.get("end_time"))
    if end_s < start_s:
        raise place.error("end_time", f"{end_s} s is before start_time, {start_s} s")
    info = place.table("info", request.get("info") or request.get("computed_metrics") or {})
    response = info.get("response_metrics")
    answer = response if isinstance(response, Mapping) else info
    failed = request.get("error") is not None
    chunks_s = _chunks_s(place, answer, start_s)
    if not len(chunks_s) and answer.get("time_to_first_token") is not None:
        chunks_s = _computed_s(place, answer)
    tokens = place.count("output_tokens", answer.get("output_tokens") or 0)
    if not failed and not len(chunks_s) and tokens:
        chunks_s = np.array([end_s - start_s])
    return Answer(
        chunks_s=chunks_s,
        tokens=len(chunks_s) if failed else tokens,
        sent_s=start_s,
        prompt_tokens=_prompt_tokens(place, info),
        outcome=Outcome.ABANDONED if failed else Outcome.FINISHED,
        end_s=end_s - start_s,
        error=_words(request.get("error")),
    )


def _chunks_s(place: Place, answer: Mapping[str, Any], start_s: float) -> np.ndarray:
    """Times of tokens where they are worked out, of chunks otherwise, after the sending."""
    for key in ("output_token_times", "chunk_times"):
        if answer.get(key):
            return place.ascending(key, place.numbers(key, answer[key]) - start_s)
    return np.empty(0)


def _computed_s(place: Place, metrics: Mapping[str, Any]) -> np.ndarray:
    """Times of tokens after the sending, of a request that was saved by its computed metrics alone."""
    first_s = place.not_negative("time_to_first_token", metrics["time_to_first_token"])
    gaps_s = place.gaps("inter_token_latencies", metrics.get("inter_token_latencies") or [])
    return np.cumsum(np.concatenate([[first_s], gaps_s]))


def _prompt_tokens(place: Place, info: Mapping[str, Any]) -> int:
    value = info.get("input_tokens")
    metrics = info.get("request_metrics")
    text = metrics.get("text") if isinstance(metrics, Mapping) else None
    if value is None and isinstance(text, Mapping):
        value = text.get("input_tokens")
    return 0 if value is None else place.count("input_tokens", value)


def _words(error: Any) -> str:
    if not isinstance(error, Mapping):
        return str(error or "")
    return str(error.get("error_msg") or error.get("error_type") or error)


def _summary(file: Path, report: Mapping[str, Any]) -> MeasuredResult:
    parts = {key: _table(report.get(key)) for key in ("successes", "failures", "load_summary")}
    successes, load = parts["successes"], parts["load_summary"]
    printed = printed_numbers(_table(successes.get("throughput")), RATES)
    for theirs, ours in LATENCIES.items():
        one = _table(_table(successes.get("latency")).get(theirs))
        printed |= printed_numbers(one, {key: (f"{ours}.{name}", 1.0) for key, name in STATISTICS.items()})
    printed |= printed_numbers(successes, {"count": ("requests.finished", 1.0)})
    printed |= printed_numbers(parts["failures"], {"count": ("requests.abandoned", 1.0)})
    printed |= printed_numbers(report, {"benchmark_time_seconds": ("duration_s", 1.0)})
    if not printed:
        raise InputError(f"{file}: inference-perf: a summary without numbers in it")
    cap = known_number(load.get("concurrency"))
    sent = Load(rate_per_s=known_number(load.get("requested_rate")), max_concurrency=int(cap) if cap else None)
    return of_summary(InferencePerf.tool, printed, LACKS, load=sent)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
