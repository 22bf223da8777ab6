"""Results of vLLM's `bench serve`, and of its `benchmark_serving.py` before: one object, a list, or one a line.

`--append-result` adds a line for each run; `bench sweep` writes a list, or a CSV, of runs without details. Versions
before 0.8 save details always, later ones with `--save-detailed`; `start_times` since 0.11, `latencies` since 0.30.
"""

from __future__ import annotations

import json
from pathlib import Path

from llmsim.interop.client_bench import Dialect, read_runs
from llmsim.interop.client_bench_saved import saved_run
from llmsim.interop.document import Document
from llmsim.interop.format import Savable
from llmsim.interop.measured import MeasuredResult
from llmsim.interop.saving import Served

#: keys that SGLang's benchmark, which began as a copy, does not write
OWN = frozenset(
    {"num_prompts", "model_id", "tokenizer_id", "endpoint_type", "burstiness", "total_token_throughput", "start_times"}
    | {"request_goodput", "mean_e2el_ms", "rtfx", "queue_times"}
)
DETAILS = frozenset({"ttfts", "itls", "output_lens"})
NOT_VLLM = frozenset(
    {"server_info", "dataset_name", "sharegpt_output_len", "random_input_len", "mean_e2e_latency_ms", "accept_length"}
)
DIALECT = Dialect(
    tool="vLLM bench serve",
    details="vllm bench serve --save-result --save-detailed",
    latencies={"ttft": "ttft_s", "tpot": "tpot_s", "itl": "tbt_s", "e2el": "e2e_s"},
    rates={
        "request_throughput": ("requests_per_s", 1.0),
        "output_throughput": ("output_tokens_per_s", 1.0),
        "total_token_throughput": ("total_tokens_per_s", 1.0),
        "request_goodput": ("goodput_requests_per_s", 1.0),
        "completed": ("requests.finished", 1.0),
        "failed": ("requests.abandoned", 1.0),
        "duration": ("duration_s", 1.0),
        "total_input_tokens": ("prompt_tokens", 1.0),
        "total_output_tokens": ("output_tokens", 1.0),
    },
    rescales=True,
)


class VllmBench(Savable):
    """vLLM's benchmark; times are the client's, from the sending to each streamed chunk."""

    tool = "vLLM bench serve"

    @classmethod
    def recognises(cls, document: Document) -> bool:
        """Keys that only vLLM writes, or the lists of details without a key of SGLang's."""
        run = document.whole or document.first
        keys = run.keys()
        if NOT_VLLM & keys or str(run.get("backend", "")).startswith("sglang"):
            return False
        return len(OWN & keys) >= 2 or bool(DETAILS & keys) or {"mean_ttft_ms", "completed"} <= keys

    @classmethod
    def read(cls, document: Document) -> list[MeasuredResult]:
        """Every run; InputError names file, request and field of what is wrong."""
        return read_runs(document, DIALECT)

    @classmethod
    def text(cls, served: Served, file: Path) -> str:
        """`vllm bench serve --save-result --save-detailed`: one object."""
        return json.dumps(saved_run(served), allow_nan=False) + "\n"
