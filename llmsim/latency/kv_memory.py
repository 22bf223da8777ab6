"""The memory of one instance: what weights and activations leave for keys and values."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmsim.errors import InputError
from llmsim.latency.gpu import Gpu
from llmsim.latency.model import BF16_BYTES, KV_BYTES, Architecture, Model

#: bytes that no KV block gets: CUDA graphs, NCCL and library workspaces (assumed; see `kv_blocks`)
WORKSPACE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Drafter:
    """What drafts tokens takes of each GPU's memory."""

    weight_bytes: float
    kv_bytes: float  #: of each token


def check_tensor_parallel(model: Model, tensor_parallel_size: int) -> None:
    """InputError unless the model's query heads can be dealt out evenly to that many GPUs."""
    if tensor_parallel_size < 1 or model.num_attention_heads % tensor_parallel_size:
        raise InputError(
            f"tensor_parallel_size = {tensor_parallel_size}, expected a divisor of the "
            f"{model.num_attention_heads} attention heads of {model.name}"
        )


def kv_heads_per_gpu(model: Architecture, tensor_parallel_size: int) -> int:
    """Key-value heads that one GPU keeps; with fewer heads than GPUs, they are copied."""
    return max(1, model.num_key_value_heads // tensor_parallel_size)


def kv_bytes_per_gpu(model: Architecture, tensor_parallel_size: int) -> int:
    """Bytes that one token keeps on each GPU, all layers. Latent attention is not split: every GPU keeps all of it."""
    values = model.kv_values_per_layer
    if model.latent_attention is None:
        values = 2 * kv_heads_per_gpu(model, tensor_parallel_size) * model.head_dim
    return model.num_hidden_layers * values * KV_BYTES[model.kv_cache_dtype]


def weight_bytes_per_gpu(model: Model, tensor_parallel_size: int) -> float:
    """Bytes of weights on each GPU: its share, and what tensor parallelism copies.

    Ranks of attention data parallelism have a copy of all but the routed experts, which all their GPUs share.
    """
    copied = model.replicated_weight_bytes
    routed = model.layer_parameters()["experts"] * model.weight_bytes_of("experts")
    of_other_ranks = routed / tensor_parallel_size * (1 - 1 / model.ranks)
    return (model.weight_bytes - copied) / tensor_parallel_size + copied - of_other_ranks


def layers_share(model: Architecture, pipeline_parallel_size: int) -> float:
    """Share of the layers of the stage that has the most. InputError where there are fewer than stages."""
    layers = model.num_hidden_layers
    if pipeline_parallel_size > layers:
        raise InputError(f"pipeline_parallel_size = {pipeline_parallel_size}, expected at most the {layers} layers")
    return -(-layers // pipeline_parallel_size) / layers


def weight_bytes_of_a_stage(model: Model, tensor_parallel_size: int, pipeline_parallel_size: int) -> float:
    """Bytes of weights on each GPU of the last stage: its share of the layers, and the head."""
    weights = weight_bytes_per_gpu(model, tensor_parallel_size)
    if pipeline_parallel_size == 1:
        return weights
    head = BF16_BYTES * model.vocab_size * model.hidden_size / tensor_parallel_size
    ends = head if model.tie_word_embeddings else 2 * head
    return layers_share(model, pipeline_parallel_size) * (weights - ends) + head


def overhead_bytes(model: Model, tensor_parallel_size: int, max_num_batched_tokens: int) -> int:
    """Bytes on one GPU that are neither weights nor KV blocks: workspace and the largest step's activations.

    Assumed: 1 GiB, and for each token of the largest step four rows of the hidden size, queries, keys, values
    and the MLP's intermediate, in 2 bytes each; of experts, for each that a token is sent to, the wider of their input
    and intermediate, and the activation; of tokens of other ranks, rows of the hidden size on their way in and out.
    vLLM measures this with a dummy step.
    """
    gpus, up = tensor_parallel_size, model.mlp_projections_up
    split = model.query_size + 2 * model.kv_size + up * model.intermediate_size
    per_token = 4 * model.hidden_size + split // gpus
    if model.experts is not None:
        inner = model.experts.moe_intermediate_size // gpus
        per_token += model.experts.num_experts_per_tok * (max(up * inner, model.hidden_size) + inner)
        per_token += 2 * (model.ranks - 1) * model.hidden_size
    return WORKSPACE_BYTES + max_num_batched_tokens * BF16_BYTES * per_token


def blocks_beside_windows(
    model: Architecture, free_bytes: float, block_bytes: float, block_tokens: int, max_num_seqs: int
) -> int:
    """Blocks of the layers that attend to everything, when the windows of all seats are set aside; 0 without windows.

    vLLM's hybrid manager deals layers out in groups of equal size, each with pages of its own from one pool. A sequence
    keeps window / block + 1 pages of each group with a window at most, and those of the other groups for all tokens.
    With fewer or shorter sequences vLLM has more room than this.
    """
    window = model.sliding_window
    if window is None or window.layers == model.num_hidden_layers:
        return 0
    full = model.num_hidden_layers - window.layers
    size = min(full, window.layers)  # layers of a group
    pages = int(free_bytes // (block_bytes / model.num_hidden_layers * size))
    set_aside = max_num_seqs * math.ceil(window.layers / size) * (window.tokens // block_tokens + 1)
    return max(0, pages - set_aside) // math.ceil(full / size)


def kv_blocks(
    gpu: Gpu,
    model: Model,
    *,
    tensor_parallel_size: int = 1,
    gpu_memory_utilization: float = 0.9,
    block_tokens: int = 16,
    max_num_batched_tokens: int = 8192,
    max_num_seqs: int | None = None,
    drafter: Drafter | None = None,
    null_blocks: int = 0,
    mem_fraction_static: float | None = None,
    pipeline_parallel_size: int = 1,
) -> int:
    """KV blocks of one instance, or of each of its ranks: what vLLM gets from the memory that is left.

    (memory × utilization - weights / TP - `overhead_bytes`) / bytes of a block on one GPU, rounded down, less
    `null_blocks`. SGLang's `mem_fraction_static` in place of the utilization is the share of weights and KV alone: what
    else there is lies in the rest. Of a model
    with windows in some layers, `max_num_seqs` sequences' windows are set aside, see `blocks_beside_windows`. A
    `drafter` has weights, and keys and values of each token, beside the model's.
    With pipeline parallelism those of the last stage.
    Raises InputError with the numbers when not a single block fits.
    """
    check_tensor_parallel(model, tensor_parallel_size)
    if not 0 < gpu_memory_utilization <= 1:
        raise InputError(f"gpu_memory_utilization = {gpu_memory_utilization}, expected above 0 and at most 1")
    weights = weight_bytes_of_a_stage(model, tensor_parallel_size, pipeline_parallel_size)
    weights += drafter.weight_bytes if drafter else 0.0
    overhead = overhead_bytes(model, tensor_parallel_size, max_num_batched_tokens)
    usable = gpu.memory_bytes * (gpu_memory_utilization if mem_fraction_static is None else mem_fraction_static)
    if mem_fraction_static is not None:
        overhead = 0
    free = usable - weights - overhead
    token_bytes = kv_bytes_per_gpu(model, tensor_parallel_size) + (drafter.kv_bytes if drafter else 0.0)
    block_bytes = layers_share(model, pipeline_parallel_size) * token_bytes * block_tokens
    blocks = int(free // block_bytes)
    if max_num_seqs is not None:
        blocks = max(blocks, blocks_beside_windows(model, free, block_bytes, block_tokens, max_num_seqs))
    blocks -= null_blocks
    if blocks < 1:
        share = "gpu_memory_utilization" if mem_fraction_static is None else "mem_fraction_static"
        raise InputError(
            f"{model.name} does not fit {tensor_parallel_size * pipeline_parallel_size} x {gpu.name}: "
            f"{weights / 1e9:.1f} GB of weights and {overhead / 1e9:.1f} GB for activations per GPU, but {share} = "
            f"{usable / gpu.memory_bytes:.3g} leaves {usable / 1e9:.1f} GB; raise tensor_parallel_size"
        )
    return blocks
