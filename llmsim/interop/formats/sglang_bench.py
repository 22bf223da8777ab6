"""Results of SGLang's `bench_serving`: JSON lines, one for each run, appended to its output file by default."""

from __future__ import annotations

from llmsim.interop.client_bench import Dialect, read_runs
from llmsim.interop.document import Document
from llmsim.interop.format import Format
from llmsim.interop.measured import MeasuredResult

#: keys that vLLM's benchmark does not write
OWN = frozenset(
    {"server_info", "sharegpt_output_len", "random_input_len", "random_range_ratio", "mean_e2e_latency_ms"}
    | {"total_throughput", "accept_length", "total_output_tokens_retokenized"}
)
DIALECT = Dialect(
    tool="SGLang bench_serving",
    details="bench_serving --output-details",
    latencies={"ttft": "ttft_s", "tpot": "tpot_s", "itl": "tbt_s", "e2e_latency": "e2e_s"},
    rates={
        "request_throughput": ("requests_per_s", 1.0),
        "output_throughput": ("output_tokens_per_s", 1.0),
        "total_throughput": ("total_tokens_per_s", 1.0),
        "request_goodput": ("goodput_requests_per_s", 1.0),
        "completed": ("requests.finished", 1.0),
        "duration": ("duration_s", 1.0),
        "total_input_tokens": ("prompt_tokens", 1.0),
        "total_output_tokens": ("output_tokens", 1.0),
    },
    rescales=False,
)


class SglangBench(Format):
    """SGLang's benchmark. It saves no send times: all requests are taken as sent at 0 s."""

    tool = "SGLang bench_serving"

    @classmethod
    def recognises(cls, document: Document) -> bool:
        """Keys that only SGLang writes, or its name as the back-end beside what its benchmark saves."""
        run = document.whole or document.first
        named = str(run.get("backend", "")).startswith("sglang") and "duration" in run
        return bool(OWN & run.keys()) or (named and bool({"dataset_name", "ttfts", "completed"} & run.keys()))

    @classmethod
    def read(cls, document: Document) -> list[MeasuredResult]:
        """Every run; InputError names file, request and field of what is wrong."""
        return read_runs(document, DIALECT)
