"""Model types of Hugging Face whose config.json is understood, and what it leaves unsaid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Family:
    """What a model_type fixes, whatever its config.json says. Counts of parameters are exact with it."""

    gated: bool = True  #: MLP with gate and up projection
    qkv_bias: bool | None = None  #: None: attention_bias says
    output_bias: bool | None = None  #: None: attention_bias says
    mlp_bias: bool = False  #: also where a key mlp_bias says so
    norm_rows: int = 2  #: vectors of the hidden size in a layer's norms
    final_norm_rows: int = 1
    qk_norm: Literal["none", "head", "full"] = "none"  #: a vector for each head size, or for all heads
    window_every: int = 0  #: every so-many-th layer attends to everything, where layer_types does not say
    window_always: bool = False  #: sliding_window holds in every layer
    defaults: Mapping[str, Any] = field(default_factory=dict)  #: of keys that config.json may leave out


TIED = {"tie_word_embeddings": True}
GEMMA_3 = TIED | {
    "vocab_size": 262208,
    "max_position_embeddings": 131072,
    "head_dim": 256,
    "sliding_window": 4096,
    "sliding_window_pattern": 6,
    "hidden_act": "gelu_pytorch_tanh",
}
GEMMA_2 = TIED | {"head_dim": 256, "sliding_window": 4096, "hidden_act": "gelu_pytorch_tanh"}
LLAMA_4 = {"attention_chunk_size": 8192, "interleave_moe_layer_step": 1, "hidden_act": "silu", "use_qk_norm": True}
DEEPSEEK = {"moe_layer_freq": 1, "first_k_dense_replace": 0, "n_shared_experts": 0}
QWEN_2_MOE = {"shared_expert_intermediate_size": 5632, "moe_intermediate_size": 1408, "decoder_sparse_step": 1}
QWEN_3_MOE = {"decoder_sparse_step": 1, "mlp_only_layers": []}

FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": Family(qkv_bias=False, output_bias=False, window_always=True),
    "mixtral": Family(qkv_bias=False, output_bias=False, window_always=True),
    "qwen2": Family(qkv_bias=True, output_bias=False),
    "qwen2_vl": Family(qkv_bias=True, output_bias=False),
    "qwen2_5_vl": Family(qkv_bias=True, output_bias=False),
    "qwen2_vl_text": Family(qkv_bias=True, output_bias=False),
    "qwen2_5_vl_text": Family(qkv_bias=True, output_bias=False),
    "qwen3": Family(qk_norm="head"),
    "qwen3_vl_text": Family(qk_norm="head"),
    "qwen2_moe": Family(qkv_bias=True, output_bias=False, defaults=QWEN_2_MOE),
    "qwen3_moe": Family(qk_norm="head", defaults=QWEN_3_MOE),
    "qwen3_vl_moe_text": Family(qk_norm="head", defaults=QWEN_3_MOE),
    "phi3": Family(qkv_bias=False, output_bias=False, window_always=True),
    "granite": Family(),
    "smollm3": Family(),
    "seed_oss": Family(qkv_bias=True, output_bias=False),
    "olmo2": Family(qk_norm="full"),
    "gemma": Family(defaults=TIED | {"head_dim": 256, "hidden_act": "gelu_pytorch_tanh"}),
    "gemma2": Family(norm_rows=4, window_every=2, defaults=GEMMA_2),
    "gemma3_text": Family(norm_rows=4, qk_norm="head", window_every=6, defaults=GEMMA_3),
    "starcoder2": Family(
        gated=False, qkv_bias=True, output_bias=True, mlp_bias=True, norm_rows=4, final_norm_rows=2, window_always=True
    ),
    "gpt_neox": Family(gated=False, qkv_bias=True, output_bias=True, mlp_bias=True, norm_rows=4, final_norm_rows=2),
    "arcee": Family(gated=False),
    "nemotron": Family(gated=False, norm_rows=4, final_norm_rows=2),
    "gpt_oss": Family(qkv_bias=True, output_bias=True, defaults={"head_dim": 64, "sliding_window": 128}),
    "deepseek_v2": Family(defaults=DEEPSEEK),
    "deepseek_v3": Family(defaults=DEEPSEEK),
    "kimi_k2": Family(defaults=DEEPSEEK),
    "minimax_m2": Family(qkv_bias=False, output_bias=False, qk_norm="full"),
    "glm4_moe": Family(output_bias=False, defaults=DEEPSEEK),
    "llama4_text": Family(qkv_bias=False, output_bias=False, defaults=LLAMA_4),
}

#: model_type of a config.json whose sizes lie in text_config -> that of the text model, where text_config does not say
WRAPPERS = {"gemma3": "gemma3_text", "llama4": "llama4_text", "mistral3": "mistral", "kimi_k25": "kimi_k2"}
