"""Decode attention in steps that hold a prompt too, where the kernel (FlashAttention 2) works in tiles of query rows.

With a prompt in the step, vLLM serves prompts and decodes by one kernel (flash_attn_varlen_func). FlashAttention 3
(compute capability 9.0) packs the query heads that share keys there as well, and splits long contexts. FlashAttention
2 does neither unless every sequence has one query token (`seqlenq_ngroups_swapped` in its flash_api.cpp): each sequence
and query head becomes a tile of 64 rows, of which a decode uses one, that walks the context in blocks. So a decode
costs there what 64 rows of a prompt do over its context: compute, where a decode step alone is bound by memory.

What a tile and a block take is read from the prefill tables: prompts of n tokens are n / 64 tiles for each head, tile
i with all blocks up to its rows. Over 64 to 16,384 tokens the two numbers give the tables of an A100 within 3 %.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from llmsim.latency.attention_times import heads_of, prefill_table
from llmsim.latency.gpu import Gpu
from llmsim.latency.model import Architecture
from llmsim.latency.operators import Floats, Operators
from llmsim.latency.profile import MixedDecodeTimes

TILE_ROWS = 64  #: kBlockM of its kernels for paged keys
#: head size up to which -> tokens of a block of keys, kBlockN
BLOCK_TOKENS = {64: 256, 128: 128, 256: 64}
VLLM, PACKS_HEADS = "vllm", 9.0  #: the engine that has it; compute capability from which on FlashAttention 3 runs
FEWEST = 4  #: sizes of prompts from which two numbers are fitted


def mixed_decode_times(operators: Operators, gpu: Gpu, model: Architecture, gpus: int) -> MixedDecodeTimes | None:
    """What a decoding sequence adds to a step with a prompt; None where decodes take as long as in steps of their own.

    Models with windows, latent attention or an fp8 KV cache have other kernels.
    """
    other = model.latent_attention is not None or model.sliding_window is not None or model.kv_cache_dtype != "bfloat16"
    older = gpu.compute_capability is not None and gpu.compute_capability < PACKS_HEADS
    if other or not older or operators.kernels.backend != VLLM:
        return None
    block = next((tokens for size, tokens in BLOCK_TOKENS.items() if model.head_dim <= size), None)
    if block is None:
        return None
    heads = heads_of(model, gpus).query
    tile_s, block_s = model.num_hidden_layers * heads * _tile_and_block_s(operators, model, gpus, block)
    return MixedDecodeTimes(block_tokens=block, sequence_s=float(f"{tile_s:.4e}"), block_s=float(f"{block_s:.4e}"))


def _tile_and_block_s(operators: Operators, model: Architecture, gpus: int, block: int) -> Floats:
    """Seconds of a tile and of each of its blocks on a GPU full of them: least squares of relative errors."""
    table, heads = prefill_table(operators, model, gpus), heads_of(model, gpus).query
    sizes = np.array([tokens for tokens in table.index if tokens % TILE_ROWS == 0])
    if len(sizes) < FEWEST:
        return np.zeros(2)
    tiles = sizes / TILE_ROWS
    # batches that fill the GPU best: few leave it idle, and with many the prompts' own rows go to memory and back
    best_s = np.nanmin(table.loc[sizes].to_numpy(np.float64) / table.columns.to_numpy(np.float64), axis=1)
    of_tile_s = best_s / (heads * tiles)
    blocks = [np.mean(np.ceil(TILE_ROWS * np.arange(1, n + 1) / block)) for n in tiles]
    weighted = np.stack([np.ones(len(sizes)), blocks], axis=1) / of_tile_s[:, None]
    return np.asarray(nnls(weighted, np.ones(len(sizes)))[0])
