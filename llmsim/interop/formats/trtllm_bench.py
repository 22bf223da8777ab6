"""Results of TensorRT-LLM's `trtllm-bench`: its report (--report_json), and its requests (--request_json)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmsim.interop.answers import Answer, each
from llmsim.interop.document import Document
from llmsim.interop.format import Format
from llmsim.interop.measured import MeasuredResult, of_answers, of_summary, printed_numbers
from llmsim.interop.place import Place
from llmsim.request import Outcome

LACKS = "a summary: trtllm-bench throughput --streaming --request_json FILE saves its requests"
RATES = {
    "request_throughput_req_s": ("requests_per_s", 1.0),
    "system_output_throughput_tok_s": ("output_tokens_per_s", 1.0),
    "system_total_throughput_tok_s": ("total_tokens_per_s", 1.0),
    "total_latency_ms": ("duration_s", 1e-3),
    "avg_request_latency_ms": ("e2e_s.mean", 1e-3),
}
MEANS = {"avg_ttft_ms": ("ttft_s.mean", 1e-3), "avg_tpot_ms": ("tpot_s.mean", 1e-3)}
PERCENTILES = {"request_latency_percentiles_ms": "e2e_s", "ttft_percentiles": "ttft_s", "tpot_percentiles": "tpot_s"}


class TrtllmBench(Format):
    """trtllm-bench: requests have first and last token and their number, in nanoseconds, and no gaps."""

    tool = "TensorRT-LLM trtllm-bench"

    @classmethod
    def recognises(cls, document: Document) -> bool:
        """The engine beside its performance; or a request's time stamps."""
        if {"start_timestamp", "end_timestamp", "num_input_tokens"} <= document.first.keys():
            return True
        performance = document.whole.get("performance")
        return "engine" in document.whole and isinstance(performance, Mapping)

    @classmethod
    def read(cls, document: Document) -> list[MeasuredResult]:
        """One run. InputError names file, request and field of what makes it useless."""
        if document.whole:
            return [_summary(document.whole)]
        requests = document.objects
        answers, odd = each(len(requests), lambda i: _answer(Place(document.path, f"request {i}"), requests[i]))
        return [of_answers(cls.tool, answers, notes=odd)]


def _answer(place: Place, request: Any) -> Answer:
    request = place.table("the request", request)
    start_s, first_s, end_s = (
        _seconds(place, f"{name}_timestamp", request) for name in ("start", "first_token", "end")
    )
    tokens = request.get("num_output_tokens", request.get("output_tokens"))
    tokens = place.count("num_output_tokens", tokens)
    if start_s is None or end_s is None or end_s < start_s:
        raise place.error("end_timestamp", "expected a time no earlier than start_timestamp")
    failed = bool(request.get("error_tokens"))
    streamed = first_s is not None and start_s <= first_s <= end_s
    edges_s = [first_s, end_s] if streamed else [end_s]
    return Answer(
        chunks_s=np.array(edges_s, dtype=np.float64) - start_s if tokens else np.empty(0),
        tokens=tokens,
        sent_s=start_s,
        prompt_tokens=place.count("num_input_tokens", request.get("num_input_tokens", 0)),
        outcome=Outcome.ABANDONED if failed else Outcome.FINISHED,
        end_s=end_s - start_s,
        spread=tokens > 1,
    )


def _seconds(place: Place, key: str, request: Mapping[str, Any]) -> float | None:
    """A time stamp in nanoseconds; None where it was never set, which is -1."""
    value = request.get(key)
    if value is None or value == -1:
        return None
    return place.nanoseconds(key, value)


def _summary(report: Mapping[str, Any]) -> MeasuredResult:
    parts = [report[key] for key in ("performance", "streaming_metrics") if isinstance(report.get(key), Mapping)]
    printed: dict[str, float] = {}
    for part in parts:
        printed |= printed_numbers(part, {**RATES, **MEANS})
        for key, ours in PERCENTILES.items():
            if isinstance(part.get(key), Mapping):
                names = {p: (f"{ours}.{p}", 1e-3) for p in ("p50", "p90", "p95", "p99")}
                printed |= printed_numbers(part[key], names)
    info = report.get("request_info")
    if isinstance(info, Mapping):
        printed |= printed_numbers(info, {"num_requests": ("requests.finished", 1.0)})
    return of_summary(TrtllmBench.tool, printed, LACKS)
