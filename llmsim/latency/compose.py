"""Step times of a model on a GPU, composed from measured operators.

linear(m) = L × [qkv + o + gate_up + down + 2 × add-norm + activation + 2 × all-reduce if TP > 1]
            + embedding + final norm
head(s)   = lm_head on s sequences; attention = L × one layer's.
Matrix products have m = tokens in the step. Element-wise work: bytes / (0.8 × memory bandwidth) + 3 us.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from llmsim.errors import InputError
from llmsim.latency.gpu import Gpu
from llmsim.latency.kv_memory import check_tensor_parallel, kv_heads_per_gpu
from llmsim.latency.model import Model
from llmsim.latency.operators import Floats, Operators
from llmsim.latency.profile import (
    DecodeTimes,
    HeadTimes,
    LinearTimes,
    PrefillTimes,
    StepProfile,
    StepProvenance,
)

ELEMENTWISE_BANDWIDTH = 0.8  #: of the peak
ELEMENTWISE_LAUNCH_S = 3e-6
HEAD_SEQUENCES = 1024  #: the head's and decode attention's largest batch that is kept
SMALLEST_CONTEXT = 64  #: below it, decode attention is all launch
#: types of the matrix products of the layers; the head stays in bf16, as in published checkpoints
WEIGHTS = ("bfloat16", "fp8")
LARGEST_CONTEXT = 131072
MANY_PROMPTS_TOKENS = 8192  #: batch whose average gives the time of one more prompt
PRUNE = 0.002  #: points that a straight line between their neighbours gives this well are left out

#: The public prefill tables of the H200 (0.19.0, 0.19.1) show the same times with and without a sliding
#: window of 128, three times faster than the peak FLOP/s allow at 8192 tokens. The H100's tensor
#: cores are the same.
PREFILL_TABLES_FROM = {"h200_sxm": "h100_sxm"}


def compose(ops_dir: Path | str, gpu: Gpu, model: Model, tensor_parallel_size: int = 1) -> StepProfile:
    """Compose the step times of `model` on `gpu` from the operator tables in `ops_dir`.

    Raises InputError where operators of this GPU, these heads or this many GPUs were not measured.
    """
    check_tensor_parallel(model, tensor_parallel_size)
    dense = model.experts is None and model.latent_attention is None and model.sliding_window is None
    dtype = model.dtype_of("mlp")
    if (model.head_dim, model.kv_cache_dtype, dense) != (128, "bfloat16", True) or dtype not in WEIGHTS:
        raise InputError(f"{model.name}: only head_dim = 128 with bf16 KV cache, bf16 or fp8 weights was measured")
    if gpu.operator_tables is None:
        raise InputError(f"{gpu.name}: operator_tables is missing, the folder of its measured operators")
    operators = Operators(ops_dir, gpu.operator_tables)
    prefill_folder = PREFILL_TABLES_FROM.get(gpu.operator_tables, gpu.operator_tables)
    heads = (model.num_attention_heads // tensor_parallel_size, kv_heads_per_gpu(model, tensor_parallel_size))
    prefill = Operators(ops_dir, prefill_folder).prefill_attention_s(*heads)
    return StepProfile(
        gpu=gpu.name,
        model=model.name,
        architecture=model.architecture,
        tensor_parallel_size=tensor_parallel_size,
        provenance=_provenance(operators, prefill_folder, heads, dtype),
        linear=_linear(operators, gpu, model, tensor_parallel_size),
        head=_head(operators, model, tensor_parallel_size),
        prefill_attention=_prefill(prefill, model.num_hidden_layers),
        decode_attention=_decode(operators.decode_attention_s(*heads), model.num_hidden_layers),
    )


def _provenance(operators: Operators, prefill_folder: str, heads: tuple[int, int], weights: str) -> StepProvenance:
    notes = [
        "element-wise work: bytes / (0.8 x memory bandwidth) + 3 us a call",
        "noise that makes more work faster is averaged out (isotonic regression)",
        "decode attention beyond the largest measured context: in proportion to the context",
    ]
    most = operators.most_decode_kv_heads
    if heads[1] > most:
        notes.append(f"decode attention of {heads[1]} KV heads: {heads[1] / most:g} x that of {most} (+-15 %)")
    if prefill_folder != operators.root.name:
        notes.append(f"prefill attention from {prefill_folder}: that of {operators.root.name} beats the GPU's peak")
    kinds = "bf16" if weights == "bfloat16" else f"bf16, weights {weights}"
    return StepProvenance(
        source="operator latencies of github.com/ai-dynamo/aiconfigurator, composed by llmsim",
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        operators=f"{operators.root.name}/*/vllm/{operators.version}/*_perf.parquet, {kinds}, medians",
        engine=f"vLLM {operators.version} kernels; GPU time only",
        license="Apache-2.0 (aiconfigurator)",
        notes=tuple(notes),
    )


def _linear(operators: Operators, gpu: Gpu, model: Model, gpus: int) -> LinearTimes:
    """Projections, element-wise work and all-reduces of all layers; embedding and final norm."""
    h, layers = model.hidden_size, model.num_hidden_layers
    inner = model.intermediate_size / gpus
    products = [
        ((model.query_size + 2 * model.kv_size) / gpus, h),
        (h, model.query_size / gpus),
        (model.mlp_projections_up * inner, h),
        (h, inner),
    ]
    dtype = model.dtype_of("mlp")
    curves = [operators.gemm_s(n, k, dtype) for n, k in products]
    tokens = curves[0][0]
    reduce_s: tuple[Floats, Floats] | None = None
    if gpus > 1:
        elements, seconds = operators.all_reduce_s(gpus)
        reduce_s = elements / h, seconds
        whole = reduce_s[0][(reduce_s[0] >= 1) & (reduce_s[0] <= tokens[-1])]
        tokens = np.union1d(tokens, np.ceil(whole))
    layer_s = sum(np.interp(tokens, *curve) for curve in curves)
    if reduce_s is not None:
        layer_s = layer_s + 2 * np.interp(tokens, *reduce_s)
    # 2 bytes an element; a norm with residual reads and writes two rows, the last norm and the embedding one
    per_layer = 2 * 4 * h * 2 + (model.mlp_projections_up + 1) * inner * 2
    elementwise_bytes = tokens * (layers * per_layer + 8 * h)
    elementwise_s = elementwise_bytes / (ELEMENTWISE_BANDWIDTH * gpu.memory_bandwidth_bytes_per_s)
    time_s = layers * layer_s + elementwise_s + (3 * layers + 2) * ELEMENTWISE_LAUNCH_S
    x, y = _smooth(tokens, time_s)
    return LinearTimes(tokens=x, time_s=y)


def _head(operators: Operators, model: Model, gpus: int) -> HeadTimes:
    sequences, time_s = operators.gemm_s(model.vocab_size / gpus, model.hidden_size)
    kept = sequences <= HEAD_SEQUENCES
    x, y = _smooth(sequences[kept], time_s[kept])
    return HeadTimes(sequences=x, time_s=y)


def _prefill(table: pd.DataFrame, layers: int) -> PrefillTimes:
    table = table[table[1].notna()]
    alone = table[1].to_numpy()
    added = [_one_more(table.loc[tokens], int(tokens)) for tokens in table.index]
    alone_s = np.maximum.accumulate(alone) * layers
    added_s = np.minimum(np.maximum.accumulate(added) * layers, alone_s)
    return PrefillTimes(
        prompt_tokens=tuple(int(tokens) for tokens in table.index),
        alone_s=_rounded(alone_s),
        added_s=_rounded(added_s),
    )


def _one_more(row: pd.Series[float], tokens: int) -> float:
    """Seconds that one more prompt adds to a batch of about `MANY_PROMPTS_TOKENS`."""
    measured = row.dropna()
    fitting = [int(size) for size in measured.index if 1 < size <= max(2, MANY_PROMPTS_TOKENS // tokens)]
    return float((measured[fitting[-1]] - measured[1]) / (fitting[-1] - 1)) if fitting else float(measured[1])


def _decode(table: pd.DataFrame, layers: int) -> DecodeTimes:
    contexts = [c for c in _powers_of_two(LARGEST_CONTEXT) if c >= SMALLEST_CONTEXT]
    sequences = [n for n in map(int, table.columns) if n <= HEAD_SEQUENCES]
    rows = [_in_proportion(table[n].dropna(), contexts) for n in sequences]
    grid = np.array(rows) * layers
    grid = np.maximum.accumulate(np.maximum.accumulate(grid, axis=0), axis=1)
    return DecodeTimes(
        sequences=tuple(sequences),
        context_tokens=tuple(contexts),
        time_s=tuple(_rounded(row) for row in grid),
    )


def _in_proportion(measured: pd.Series[float], contexts: Sequence[int]) -> Floats:
    """Linear between the measured contexts; above the largest, in proportion to the context."""
    between = np.interp(contexts, measured.index, measured)
    return np.asarray(between * np.maximum(1.0, np.array(contexts) / float(measured.index[-1])))


def _powers_of_two(largest: int) -> list[int]:
    return [2**power for power in range(largest.bit_length())]


def _rounded(values: Sequence[float] | Floats) -> tuple[float, ...]:
    """Five significant digits: the measurements do not hold more."""
    return tuple(float(f"{value:.4e}") for value in values)


def _smooth(x: Floats, y: Floats) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Make y ascend, and leave out points that their neighbours give as well."""
    y = isotonic(y)
    kept = _needed(x, y)
    return tuple(int(v) for v in x[kept]), _rounded(y[kept])


def isotonic(y: Floats) -> Floats:
    """Closest ascending sequence in least squares (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in y:
        mean, count = float(value), 1
        while pools and pools[-1][0] >= mean:
            before, size = pools.pop()
            mean, count = (mean * count + before * size) / (count + size), count + size
        pools.append((mean, count))
    return np.repeat([mean for mean, _ in pools], [count for _, count in pools])


def _needed(x: Floats, y: Floats) -> list[int]:
    """Indices of the points that keep the line within `PRUNE` of all (Douglas and Peucker, 1973)."""
    kept, spans = {0, len(x) - 1}, [(0, len(x) - 1)]
    while spans:
        first, last = spans.pop()
        error = np.abs(np.interp(x[first : last + 1], x[[first, last]], y[[first, last]]) / y[first : last + 1] - 1)
        worst = first + int(error.argmax())
        if error.max() > PRUNE:
            kept.add(worst)
            spans += list(pairwise((first, worst, last)))
    return sorted(kept)
