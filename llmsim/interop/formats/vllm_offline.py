"""Results of vLLM's offline benchmarks, `bench throughput` and `bench latency` (--output-json): no server."""

from __future__ import annotations

from llmsim.interop.document import Document
from llmsim.interop.format import Format
from llmsim.interop.measured import MeasuredResult, of_summary, printed_numbers

THROUGHPUT = {
    "requests_per_second": ("requests_per_s", 1.0),
    "tokens_per_second": ("total_tokens_per_s", 1.0),
    "elapsed_time": ("duration_s", 1.0),
    "num_requests": ("requests.finished", 1.0),
}
LATENCY = {"avg_latency": ("e2e_s.mean", 1.0)}
LACKS = "an offline benchmark has no requests that clients wait for: vllm bench serve measures these"
OF_BATCHES = f"latencies of whole batches, one after the other; {LACKS}"


class VllmOffline(Format):
    """Totals of a run without a server; or the latency of one batch, measured again and again."""

    tool = "vLLM bench throughput, latency"

    @classmethod
    def recognises(cls, document: Document) -> bool:
        """The totals of the one, or the average, list and percentiles of the other."""
        keys = document.whole.keys()
        return {"elapsed_time", "tokens_per_second"} <= keys or {"avg_latency", "latencies", "percentiles"} <= keys

    @classmethod
    def read(cls, document: Document) -> list[MeasuredResult]:
        """One run, without requests."""
        run = document.whole
        if "avg_latency" not in run:
            return [of_summary(cls.tool, printed_numbers(run, THROUGHPUT), LACKS)]
        percentiles = run["percentiles"] if isinstance(run["percentiles"], dict) else {}
        names = {q: (f"e2e_s.p{q}", 1.0) for q in ("50", "90", "99")}
        return [of_summary(cls.tool, printed_numbers(run, LATENCY) | printed_numbers(percentiles, names), OF_BATCHES)]
