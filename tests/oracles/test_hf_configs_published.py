"""config.json files of published checkpoints, written down: parameters as Hugging Face counts them, or a refusal."""

import json

import pytest

from llmsim.errors import InputError
from llmsim.latency.hf_config import read_hf_config

IDLE = {
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": [2, 3],
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.42.3",
    "use_cache": True,
}


def dense(kind, hidden, inner, layers, heads, kv, vocab, **others):
    sizes = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "vocab_size": vocab}
    sizes |= {"num_attention_heads": heads, "num_key_value_heads": kv, "max_position_embeddings": 8192}
    return IDLE | {"model_type": kind, "hidden_act": "silu"} | sizes | others


QWEN_MOE = {"num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408, "decoder_sparse_step": 1}
QWEN_MOE |= {"shared_expert_intermediate_size": 5632, "sliding_window": 32768, "use_sliding_window": False}
V2 = {"first_k_dense_replace": 1, "kv_lora_rank": 512, "q_lora_rank": None, "moe_intermediate_size": 1408}
V2 |= {"n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6, "qk_nope_head_dim": 128}
V2 |= {"qk_rope_head_dim": 64, "v_head_dim": 128, "moe_layer_freq": 1, "seq_aux": True, "aux_loss_alpha": 0.001}
GEMMA = {"head_dim": 256, "hidden_act": "gelu_pytorch_tanh", "sliding_window": 4096, "sliding_window_size": 4096}
GEMMA |= {"query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0, "cache_implementation": "hybrid"}
GRANITE = {"attention_multiplier": 0.008, "embedding_multiplier": 12.0, "logits_scaling": 16.0, "mlp_bias": False}

PUBLISHED = [
    (dense("llama", 4096, 14336, 32, 32, 8, 128256, mlp_bias=False, pretraining_tp=1), 8_030_261_248),
    (dense("llama", 7168, 20480, 60, 56, 8, 64000), 34_388_917_248),  # Yi-34B
    (dense("qwen2", 3584, 18944, 28, 28, 4, 152064, use_sliding_window=False, sliding_window=131072), 7_615_616_512),
    (dense("qwen2_5_vl", 3584, 18944, 28, 28, 4, 152064, vision_config={"depth": 32}), 7_615_616_512),
    (dense("mistral", 4096, 14336, 32, 32, 8, 32000, sliding_window=4096), 7_241_732_096),
    (dense("gemma2", 3584, 14336, 42, 16, 8, 256000, **GEMMA), 9_241_705_984),
    (dense("phi3", 3072, 8192, 32, 32, 32, 32064, sliding_window=2047, embd_pdrop=0.0), 3_821_079_552),
    (dense("olmo2", 4096, 11008, 32, 32, 32, 100352), 7_298_617_344),
    (dense("granite", 4096, 12800, 40, 32, 8, 49155, tie_word_embeddings=True, **GRANITE), 8_170_848_256),
    (dense("starcoder2", 6144, 24576, 40, 48, 4, 49152, hidden_act="gelu_pytorch_tanh"), 15_957_889_024),
    (dense("qwen2_moe", 2048, 5632, 24, 16, 16, 151936, **QWEN_MOE), 14_315_784_192),
    (dense("deepseek_v2", 2048, 10944, 27, 16, 16, 102400, **V2), 15_706_484_224),
]


@pytest.mark.parametrize(("config", "parameters"), PUBLISHED, ids=lambda value: value if isinstance(value, int) else "")
def test_parameters(config, parameters, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_hf_config(tmp_path / "config.json").parameters == parameters


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"model_type": "jamba", "attn_layer_offset": 4, "num_experts": 16, "mamba_d_state": 16}, "attn_layer_offset"),
        ({"model_type": "qwen3_next", "full_attention_interval": 4, "num_experts": 512}, "full_attention_interval"),
        ({"model_type": "granitemoehybrid", "layer_types": ["mamba", "attention"]}, "layer_types has mamba"),
        ({"model_type": "recurrent_gemma", "block_types": ["recurrent", "attention"]}, "block_types"),
        ({"model_type": "deepseek_v32", "index_topk": 2048, "kv_lora_rank": 512}, "index_topk"),
        ({"model_type": "falcon_h1", "mamba_d_ssm": 3072}, "mamba_d_ssm"),
        ({"model_type": "kimi_linear", "linear_attn_config": {"full_attn_layers": [4]}}, "linear_attn_config"),
        ({"model_type": "minimax", "attn_type_list": [0, 1]}, "attn_type_list"),
        ({"model_type": "falcon", "multi_query": True, "parallel_attn": True}, "multi_query"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "is_encoder_decoder"),
        ({"model_type": "hunyuan_v1_moe", "use_cla": True, "moe_topk": [8]}, "use_cla"),
        ({"model_type": "rwkv", "hidden_size": 4096}, "model_type"),
        ({"model_type": "gpt2", "n_embd": 768}, "model_type"),
    ],
)
def test_models_of_another_kind_are_refused_by_name(config, key, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(dense("x", 64, 128, 2, 8, 2, 1000) | config))
    with pytest.raises(InputError, match=key):
        read_hf_config(tmp_path / "config.json")
