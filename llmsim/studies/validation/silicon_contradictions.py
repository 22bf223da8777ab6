"""Closed-loop runs whose own numbers contradict each other, or what a data sheet allows: told, and not compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmsim.latency.kv_memory import kv_bytes_per_gpu, weight_bytes_per_gpu
from llmsim.latency.model import Model
from llmsim.studies.validation.silicon_runs import SHORTEST, Run

#: a group whose TTFTs cannot be those of its TPOTs
WAITING = "H100 vllm 0.11.2 gpt-oss-120b"
#: of what the data sheet allows, a group's median; of all others it is 16 to 48 %
MOST_OF_PEAK = 0.85


def contradictory(runs: Sequence[Run]) -> dict[str, str]:
    """Groups that contradict themselves, and how."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    found = {WAITING: _waiting(groups[WAITING])} if WAITING in groups else {}
    for group, mine in groups.items():
        of = [100 * share_of_peak(run) for run in mine]
        if np.median(of) > 100 * MOST_OF_PEAK:
            found[group] = (
                f"not compared: {group}: with all clients served these runs would take {min(of):.0f} to {max(of):.0f} "
                f"% of what the data sheet allows (median {np.median(of):.0f} %; all other groups up to 48), kernel "
                "after kernel without launches: prompts from a cache, or fewer requests at a time than are stated"
            )
    return found


def _waiting(runs: Sequence[Run]) -> str:
    """The share of TTFT in the times of requests."""
    shares = [100 * run.ttft_s * run.requests_per_s() / run.concurrency for run in runs]
    return (
        f"not compared: {WAITING}: TTFT is {min(shares):.0f} to {max(shares):.0f} % of the time of a request in "
        f"all {len(shares)} runs, whatever their lengths and GPUs (vLLM 0.18: up to 5 %); on 8 GPUs TPOT would "
        "be 3.6 ms with 512 clients (1,024 + 8,192 tokens), half of the 7.1 ms of vLLM 0.18 with 64."
    )


def share_of_peak(run: Run) -> float:
    """Least time of a client's request by the data sheet, with all clients served alike, over the measured one.

    Kernels follow each other, each at the peak: in every step keys and values of those that decode are read, and
    weights are read or multiplied, whichever takes longer, for them and for the prompts' share; attention of the
    prompts on top. No host, no launches, no communication, no norms.
    """
    gpu, model = run.hardware()
    shorter = (1 + SHORTEST) / 2 if run.inferencemax else 1.0
    prompt, output = run.prompt_tokens * shorter, run.output_tokens * shorter
    lasts_s = run.ttft_s + (output - 1) * run.tpot_s
    clients = run.concurrency / model.ranks  # of each rank
    decoding = clients * (output - 1) * run.tpot_s / lasts_s
    in_fp8 = model.quantization is not None and model.quantization.dtype.startswith("fp8")
    flop_per_s = (gpu.fp8_flop_per_s if in_fp8 else None) or gpu.bf16_flop_per_s
    bytes_per_s, size = gpu.memory_bandwidth_bytes_per_s, run.tensor_parallel_size
    layers = model.num_hidden_layers - (model.sliding_window.layers if model.sliding_window else 0)
    token_bytes = kv_bytes_per_gpu(model, size) * layers / model.num_hidden_layers
    weights = (model.active_parameters - 2 * model.vocab_size * model.hidden_size) / size
    multiply_s = 2 * weights * (decoding + clients * prompt / output) / flop_per_s
    read_s = _read_bytes(model, size, model.ranks * decoding) / bytes_per_s
    step_s = token_bytes * decoding * (prompt + output / 2) / bytes_per_s + max(multiply_s, read_s)
    prompts_s = clients * layers * 2 * model.query_size / size * prompt**2 / gpu.bf16_flop_per_s
    return (output * step_s + prompts_s) / lasts_s


def _read_bytes(model: Model, size: int, sequences: float) -> float:
    """Weights that a GPU reads in a step: all but the experts that no sequence is sent to."""
    read = weight_bytes_per_gpu(model, size)
    if model.experts is None:
        return read
    routed = model.layer_parameters()["experts"] * model.weight_bytes_of("experts") / (size * model.ranks)
    return read - routed * (1 - model.experts.awake(sequences) / model.experts.num_experts)
