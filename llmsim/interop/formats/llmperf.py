"""Results of llmperf: its individual responses, and its summary. No send times, no gaps, no duration."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsim.interop.answers import Answer, each
from llmsim.interop.document import Document
from llmsim.interop.format import Format
from llmsim.interop.measured import Load, MeasuredResult, of_answers, of_summary, printed_numbers
from llmsim.interop.place import Place, known_number
from llmsim.request import Outcome

LACKS = "a summary: its requests are in ..._individual_responses.json beside it"
COUNTED_IN = "llmperf's inter-token latency counts the first token in, and is nothing that a score has"
QUANTILES = ("p50", "p90", "p95", "p99")
LATENCIES = {"ttft_s": "ttft_s", "end_to_end_latency_s": "e2e_s"}
NAMES = {
    **{f"results_{theirs}_mean": (f"{ours}.mean", 1.0) for theirs, ours in LATENCIES.items()},
    **{f"results_{t}_quantiles_{q}": (f"{o}.{q}", 1.0) for t, o in LATENCIES.items() for q in QUANTILES},
    "results_mean_output_throughput_token_per_s": ("output_tokens_per_s", 1.0),
    "results_num_completed_requests": ("requests.finished", 1.0),
    "results_number_errors": ("requests.abandoned", 1.0),
    "results_num_completed_requests_per_min": ("requests_per_s", 1 / 60),
}


class Llmperf(Format):
    """llmperf's token benchmark."""

    tool = "llmperf"

    @classmethod
    def recognises(cls, document: Document) -> bool:
        """The names of its latencies, of one request or of all."""
        keys = document.first.keys()
        one = "end_to_end_latency_s" in keys or {"ttft_s", "number_output_tokens"} <= keys
        one = one or {"error_code", "number_input_tokens"} <= keys
        summary = {"num_concurrent_requests", "results_num_completed_requests"} & document.whole.keys()
        return one or bool(summary) or any(key.startswith("results_ttft_s") for key in document.whole)

    @classmethod
    def read(cls, document: Document) -> list[MeasuredResult]:
        """One run. InputError names file, request and field of what makes it useless."""
        if document.whole:
            cap = known_number(document.whole.get("num_concurrent_requests"))
            load = Load(max_concurrency=int(cap) if cap else None)
            return [of_summary(cls.tool, printed_numbers(document.whole, NAMES), LACKS, load=load)]
        rows = document.objects
        answers, odd = each(len(rows), lambda i: _answer(Place(document.path, f"request {i}"), rows[i]))
        return [of_answers(cls.tool, answers, dated=False, notes=[*odd, COUNTED_IN, "no duration: no rates"])]


def _answer(place: Place, row: Any) -> Answer:
    row = place.table("the request", row)
    prompt = place.count("number_input_tokens", row.get("number_input_tokens") or 0)
    if row.get("error_code") is not None:
        error = str(row.get("error_msg") or row["error_code"])
        return Answer(np.empty(0), 0, prompt_tokens=prompt, outcome=Outcome.ABANDONED, error=error)
    e2e_s = place.not_negative("end_to_end_latency_s", row.get("end_to_end_latency_s"))
    ttft_s = place.not_negative("ttft_s", row.get("ttft_s"))
    tokens = place.count("number_output_tokens", row.get("number_output_tokens"))
    if ttft_s > e2e_s:
        raise place.error("ttft_s", f"{ttft_s} s is more than end_to_end_latency_s, {e2e_s} s")
    chunks_s = np.array([ttft_s, e2e_s]) if tokens else np.empty(0)
    return Answer(chunks_s, tokens, prompt_tokens=prompt, end_s=e2e_s, spread=tokens > 1)
