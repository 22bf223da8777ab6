"""What vLLM calls the keys of a scenario: told in the reference, and understood in messages about unknown keys."""

from __future__ import annotations

import re

#: how vLLM, or its `bench serve`, calls what a key says
VLLM_NAMES = {
    "cluster.model": "--model",
    "cluster.kv_cache_dtype": "--kv-cache-dtype",
    "cluster.tensor_parallel_size": "--tensor-parallel-size",
    "cluster.pipeline_parallel_size": "--pipeline-parallel-size",
    "cluster.data_parallel_size": "--data-parallel-size",
    "cluster.num_gpu_blocks": "--num-gpu-blocks-override",
    "cluster.gpu_memory_utilization": "--gpu-memory-utilization",
    "cluster.block_size": "--block-size",
    "cluster.prefix_caching": "--enable-prefix-caching",
    "cluster.max_model_len": "--max-model-len",
    "clients.max_in_flight": "bench: --max-concurrency",
    "clients.max_tokens": "max_tokens",
    "clients.ignore_eos": "bench: --ignore-eos",
    "workload.requests": "bench: --num-prompts",
    "workload.arrivals.rate_per_s": "bench: --request-rate",
    "workload.arrivals.burstiness": "bench: --burstiness",
    "workload.arrivals.concurrency": "bench: --max-concurrency",
    "workload.lengths.prompt_tokens": "bench: --random-input-len",
    "workload.lengths.output_tokens": "bench: --random-output-len",
    "scheduler.max_num_seqs": "--max-num-seqs",
    "scheduler.max_num_batched_tokens": "--max-num-batched-tokens",
    "scheduler.async_scheduling": "--async-scheduling",
    "speculation.method": "--speculative-config: method",
    "speculation.num_speculative_tokens": "--speculative-config: num_speculative_tokens",
    "speculation.num_speculative_tokens_per_batch_size": "--speculative-config: num_speculative_tokens_per_batch_size",
    "speculation.acceptance_length": "--speculative-config: synthetic_acceptance_length",
    "speculation.acceptance_rates": "--speculative-config: synthetic_acceptance_rates",
    "host.max_cudagraph_capture_size": "--max-cudagraph-capture-size",
    "slo.ttft_s": "bench: --goodput ttft:MS",
    "slo.tpot_s": "bench: --goodput tpot:MS",
    "slo.e2e_s": "bench: --goodput e2el:MS",
    "seed": "bench: --seed",
}
#: names that other tools have for the same
OTHER_NAMES = {
    "qps": "workload.arrivals.rate_per_s",
    "rate": "workload.arrivals.rate_per_s",
    "rate_per_s": "workload.arrivals.rate_per_s",
    "num_requests": "workload.requests",
    "input_len": "workload.lengths.prompt_tokens",
    "output_len": "workload.lengths.output_tokens",
    "concurrency": "workload.arrivals.concurrency",
    "goodput": "slo",
}


def _bare(vllm_name: str) -> str:
    """``bench: --request-rate`` without what stands around the name, as an identifier."""
    return re.sub(r"^bench: |--| .*$", "", vllm_name).replace("-", "_")


#: a name of vLLM's, as an identifier -> the key; the first of several, such as --max-concurrency
_KEYS = OTHER_NAMES | {_bare(name): key for key, name in reversed(VLLM_NAMES.items())}


def key_called(name: str) -> str | None:
    """The key of a scenario that vLLM, or another tool, calls by this name."""
    return _KEYS.get(name.lower().replace("-", "_").lstrip("_"))
