"""Attention of all layers, for prompts and decode steps, from measured kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from llmsim.errors import InputError
from llmsim.latency.gpu import Gpu
from llmsim.latency.kv_memory import kv_heads_per_gpu
from llmsim.latency.layers import layers_with_window
from llmsim.latency.model import Architecture, LatentAttention
from llmsim.latency.operators import Floats, Heads, Operators
from llmsim.latency.profile import DecodeTimes, PrefillTimes
from llmsim.latency.smoothing import ascending, isotonic, rounded, without_outliers, without_spikes

MOST_SEQUENCES = 1024  #: largest batch of decode attention that is kept
SMALLEST_CONTEXT, LARGEST_CONTEXT = 64, 131072  #: below the smallest, decode attention is all launch
MANY_PROMPTS_TOKENS = 8192  #: batch whose average gives the time of one more prompt
MANY_KV_TOKENS = 0.5  #: share of the most KV tokens that a row has to reach to tell what one more takes
#: kernels of latent attention of prompts that were measured on compressed keys and values: on an H200, 128 heads and
#: 8192 tokens take 15.4 ms, 608 TFLOP/s of that work, or 179 of the expanded one; vLLM's with all projections 7.3 ms
COMPRESSED = ("flash_attention",)
FASTER_THAN_PEAK = 1.05  #: a prompt's attention that beats the data sheet by more than this was not measured in full


def prefill_times(operators: Operators, gpu: Gpu, model: Architecture, gpus: int) -> tuple[PrefillTimes, list[str]]:
    """Attention of a whole prompt, alone and as one more in a batch: of full layers and of those with a window.

    Also which measured prompts were left out as outliers, in words.
    """
    full, inside, _ = layers_with_window(model)
    parts = [(full, prefill_table(operators, model, gpus))]
    if inside:
        parts.append((inside, prefill_table(operators, model, gpus, windowed=True)))
    tokens = _measured_alone([table for _, table in parts])
    alone_s, added_s, notes = np.zeros(len(tokens)), np.zeros(len(tokens)), []
    if model.latent_attention is not None and operators.latent_prefill_kernel in COMPRESSED:
        notes.append("prompts' latent attention: its kernel's time, at the work of expanded keys and values")
    for layers, table in parts:
        one_s, outliers = without_spikes(table[1].loc[tokens].to_numpy(np.float64))
        notes += [
            f"prefill attention of {tokens[place]} tokens left out: {factor:.1f} x what its neighbours say"
            for place, factor in outliers
        ]
        alone_s += layers * np.maximum.accumulate(one_s)
        added_s += layers * np.maximum.accumulate([_one_more(table.T[t], t) for t in tokens])
    if not inside and model.latent_attention is None:
        _check_peak(operators, gpu, model, gpus, tokens[-1], float(alone_s[-1]))
    times = PrefillTimes(
        prompt_tokens=tuple(tokens),
        alone_s=rounded(alone_s),
        added_s=rounded(np.minimum(added_s, alone_s)),
    )
    return times, notes


def _measured_alone(tables: Sequence[pd.DataFrame]) -> list[int]:
    """Prompt tokens that all tables have for one sequence."""
    return [int(t) for t in tables[0].index if all(t in table.index and pd.notna(table[1][t]) for table in tables)]


def prefill_table(operators: Operators, model: Architecture, gpus: int, *, windowed: bool = False) -> pd.DataFrame:
    """Seconds of one layer, prompt tokens × sequences. Latent attention: with its expansion to all heads."""
    latent = model.latent_attention
    if latent is None:
        return operators.prefill_attention_s(heads_of(model, gpus, windowed=windowed))
    heads = model.num_attention_heads // gpus
    table = operators.latent_prefill_s(heads, model.kv_cache_dtype)
    if operators.latent_prefill_kernel in COMPRESSED:
        table = _expanded(table, latent)
    width = heads * (latent.qk_nope_head_dim + latent.v_head_dim)
    expand = operators.gemm_s(width, latent.kv_lora_rank, model.dtype_of("attention"))
    tokens = np.outer(table.index, table.columns)
    return table + np.interp(tokens, *expand)


def _expanded(table: pd.DataFrame, latent: LatentAttention) -> pd.DataFrame:
    """Times of a kernel that was measured on compressed keys and values, at the work of expanded ones.

    Engines expand those of a prompt without cached tokens. For each pair of tokens the compressed form multiplies the
    latent vector, once with the rotated part and once without; the expanded one a key and a value of one head.
    """
    expanded = latent.qk_nope_head_dim + latent.qk_rope_head_dim + latent.v_head_dim
    launch_s = float(table.min().min())
    return launch_s + expanded / (latent.cached_values + latent.kv_lora_rank) * (table - launch_s)


def _one_more(row: pd.Series[float], tokens: int) -> float:
    """Seconds that one more prompt adds to a batch of about `MANY_PROMPTS_TOKENS`."""
    measured = row.dropna()
    fitting = [int(size) for size in measured.index if 1 < size <= max(2, MANY_PROMPTS_TOKENS // tokens)]
    return float((measured[fitting[-1]] - measured[1]) / (fitting[-1] - 1)) if fitting else float(measured[1])


def _check_peak(operators: Operators, gpu: Gpu, model: Architecture, gpus: int, tokens: int, time_s: float) -> None:
    flop = model.num_hidden_layers * 2 * model.query_size / gpus * tokens * (tokens + 1)
    peak_s = flop / gpu.bf16_flop_per_s
    if time_s * FASTER_THAN_PEAK < peak_s:
        raise InputError(
            f"{operators.root}: attention of {tokens} tokens in {1e3 * time_s:.3g} ms of {operators.kernels}: "
            f"{peak_s / time_s:.1f} x the FLOP/s of {gpu.name}; it was not measured in full"
        )


def decode_times(operators: Operators, model: Architecture, gpus: int) -> tuple[DecodeTimes, list[str]]:
    """Attention of decode steps, and which cells were left out as outliers, in words."""
    full, inside, window = layers_with_window(model)
    contexts = [2**power for power in range(LARGEST_CONTEXT.bit_length()) if 2**power >= SMALLEST_CONTEXT]
    table, notes = _cleaned(_decode_table(operators, model, gpus))
    grid = full * attention_grid(table, contexts)
    if inside:
        windowed, more = _cleaned(operators.decode_attention_s(heads_of(model, gpus, windowed=True)), grows=False)
        grid = grid + inside * attention_grid(windowed, contexts, grows=False)
        notes += [f"{note} (window {window})" for note in more]
    sequences = list(map(int, table.columns))
    grid = grid + _products(operators, model, gpus, sequences)[:, None]
    # beyond the largest number of sequences a table goes on as it grew: also there, more context must not be faster
    grid[-1] = grid[-2] + isotonic(grid[-1] - grid[-2])
    times = DecodeTimes(
        sequences=tuple(sequences),
        context_tokens=tuple(contexts),
        time_s=tuple(rounded(row) for row in grid),
        measured_context_tokens=tuple(int(table[n].dropna().index[-1]) for n in sequences),
    )
    return times, notes


def _decode_table(operators: Operators, model: Architecture, gpus: int) -> pd.DataFrame:
    """Seconds of one layer, contexts × sequences; InputError where no row tells how it grows with the context."""
    if model.latent_attention is not None:
        table = operators.latent_decode_s(model.num_attention_heads // gpus, model.kv_cache_dtype)
    else:
        table = operators.decode_attention_s(heads_of(model, gpus))
    if table.count().max() < 2:
        raise InputError(
            f"{operators.root}: decode attention was measured at one context for each number of sequences, expected "
            f"two or more, which tell how it grows ({operators.kernels})"
        )
    return table


def _products(operators: Operators, model: Architecture, gpus: int, sequences: list[int]) -> Floats:
    """Seconds of all layers' batched products around latent attention, for each number of sequences."""
    if model.latent_attention is None:
        return np.zeros(len(sequences))
    dtype = "fp8" if model.dtype_of("attention").startswith("fp8") else "bfloat16"
    curve = operators.latent_products_s(model.num_attention_heads // gpus, dtype)
    return model.num_hidden_layers * isotonic(np.interp(sequences, *curve))


def heads_of(model: Architecture, gpus: int, *, windowed: bool = False) -> Heads:
    """The attention heads of one GPU, as tables are asked for."""
    window = model.sliding_window.tokens if windowed and model.sliding_window else 0
    query, kv = model.num_attention_heads // gpus, kv_heads_per_gpu(model, gpus)
    return Heads(query, kv, model.head_dim, model.kv_cache_dtype, window)


def _cleaned(table: pd.DataFrame, *, grows: bool = True) -> tuple[pd.DataFrame, list[str]]:
    """Contexts × sequences without outliers, ascending in both; and the outliers in words."""
    sequences, contexts = [n for n in map(int, table.columns) if n <= MOST_SEQUENCES], list(map(int, table.index))
    grid, found = without_outliers(_rows(table[sequences], contexts, grows=grows))
    notes = [
        f"decode attention of {sequences[row]} x {contexts[column]} left out: {factor:.1f} x what its neighbours say"
        for row, column, factor in found
    ]
    known = table[sequences].notna()
    return pd.DataFrame(ascending(grid).T, index=table.index, columns=sequences).where(known), notes


def attention_grid(table: pd.DataFrame, contexts: Sequence[int], *, grows: bool = True) -> Floats:
    """Seconds, sequences × contexts, from measured contexts × sequences (NaN: not measured).

    Linear between measured contexts. More sequences were measured up to shorter contexts; beyond its largest a row goes
    on by what one more KV token takes where most of them were measured (`_kv_token_s`), or not at all, unless it
    `grows`.
    """
    # beyond the largest contexts a row may end below the one before
    return np.asarray(np.maximum.accumulate(_rows(table, contexts, grows=grows), axis=0))


def _rows(table: pd.DataFrame, contexts: Sequence[int], *, grows: bool) -> Floats:
    token_s = _kv_token_s(table) if grows else 0.0
    return np.array([_row(table[n].dropna(), contexts, n * token_s) for n in map(int, table.columns)])


def _row(measured: pd.Series[float], contexts: Sequence[int], slope_s: float) -> Floats:
    beyond = np.maximum(0, np.array(contexts) - int(measured.index[-1]))
    return np.asarray(np.interp(contexts, measured.index, measured) + slope_s * beyond)


def _kv_token_s(table: pd.DataFrame) -> float:
    """Seconds that one more KV token takes, all of them read from memory: the median of the rows' last intervals.

    Only rows that reach `MANY_KV_TOKENS` of the most: in a shorter one launches and caches hide what a token takes.
    """
    rows = [row[-2:] for _, column in table.items() if len(row := column.dropna()) > 1]
    ends = np.array([row.name * row.index.to_numpy() for row in rows])  # KV tokens of each row's last two cells
    slopes_s = np.diff([row.to_numpy() for row in rows])[:, 0] / np.diff(ends)[:, 0]
    return max(0.0, float(np.median(slopes_s[ends[:, 1] >= MANY_KV_TOKENS * ends.max()])))
