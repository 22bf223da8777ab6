"""The matrix products of a layer on one GPU, which roofline and composed step times have in common."""

from __future__ import annotations

from llmsim.latency.kv_memory import kv_heads_per_gpu
from llmsim.latency.model import Architecture

Product = tuple[float, float]  #: (n, k): tokens x k by k x n


def attention_products(model: Architecture, gpus: int) -> list[Product]:
    """Projections before and after attention. Latent attention: the way down is not split, the way up is by heads."""
    h, latent = model.hidden_size, model.latent_attention
    if latent is None:
        query = model.query_size / gpus
        return [(query + 2 * kv_heads_per_gpu(model, gpus) * model.head_dim, h), (h, query)]
    query, heads = model.query_size / gpus, model.num_attention_heads / gpus
    rank, cached = latent.q_lora_rank, latent.cached_values
    down: list[Product] = [(rank + cached, h), (query, rank)] if rank else [(query + cached, h)]
    expand = heads * (latent.qk_nope_head_dim + latent.v_head_dim)
    return [*down, (expand, latent.kv_lora_rank), (h, model.output_size / gpus)]


def mlp_products(model: Architecture, gpus: int, width: int) -> list[Product]:
    """Projections of an MLP whose intermediate size is `width`: up (and gate), down."""
    inner = width / gpus
    return [(model.mlp_projections_up * inner, model.hidden_size), (model.hidden_size, inner)]


def layers_with_window(model: Architecture) -> tuple[int, int, int]:
    """(layers that attend to everything, layers that attend to a window, tokens of the window)."""
    window = model.sliding_window
    if window is None:
        return model.num_hidden_layers, 0, 0
    return model.num_hidden_layers - window.layers, window.layers, window.tokens
