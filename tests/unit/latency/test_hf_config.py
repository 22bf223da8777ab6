"""config.json of Hugging Face: understood wholly, or refused with the key that is not."""

import contextlib
import json

import pytest

from llmsim.errors import InputError
from llmsim.latency.hardware import load_model
from llmsim.latency.hf_config import read_hf_config
from llmsim.latency.model import Experts, LatentAttention, SlidingWindow

CONFIG = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "rope_theta": 10000.0,
}
LATENT = {"kv_lora_rank": 16, "q_lora_rank": 24, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}


def write_config(folder, at="Tiny-1B", **changes):
    path = folder / at / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({k: v for k, v in (CONFIG | changes).items() if v is not None}))
    return path


def read(tmp_path, **changes):
    return read_hf_config(write_config(tmp_path, **changes))


def refused(tmp_path, **changes):
    with pytest.raises(InputError) as caught:
        read(tmp_path, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_dense_model(tmp_path):
    model = load_model(str(write_config(tmp_path)))

    assert (model.name, model.head_dim, model.kv_size, model.max_model_len) == ("tiny-1b", 8, 16, 512)
    layer = 2 * 64 * 64 + 2 * 64 * 16 + 3 * 64 * 128 + 2 * 64
    assert model.parameters == model.active_parameters == 1000 * 64 + 2 * layer + 64


def test_without_kv_heads_it_is_multi_head(tmp_path):
    assert read(tmp_path, num_key_value_heads=None).num_key_value_heads == 8


def test_head_dim_of_its_own(tmp_path):
    assert read(tmp_path, head_dim=32).query_size == 8 * 32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"intermediate_size": None}, "intermediate_size is missing"),
        ({"intermediate_size": None, "vocab_size": None}, "intermediate_size, vocab_size are missing"),
        ({"hidden_size": "big"}, "hidden_size = 'big', expected"),
        ({"num_attention_heads": 0}, "num_attention_heads = 0, expected"),
        ({"num_hidden_layers": -1}, "num_hidden_layers = -1, expected"),
    ],
)
def test_sizes_that_do_not_do(tmp_path, changes, message):
    assert message in refused(tmp_path, **changes)


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[]", "expected a JSON object")])
def test_what_is_no_config(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_hf_config(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"layer_types": ["linear_attention", "full_attention"]}, "layer_types", "linear attention"),
        ({"full_attention_interval": 4}, "full_attention_interval = 4", "linear attention"),
        ({"hybrid_override_pattern": "M-M*"}, "hybrid_override_pattern", "hybrid"),
        ({"layers_block_type": ["mamba", "attention"]}, "layers_block_type", "hybrid"),
        ({"mamba_d_state": 128}, "mamba_d_state", "Mamba"),
        ({"model_type": "mamba2", "state_size": 128}, "state_size", "Mamba"),
        ({"moe_num_experts": 64, "moe_k": 6}, "moe_num_experts = 64", "experts"),
        ({"model_type": "ernie4_5_moe", "moe_num_experts": 64}, "moe_num_experts = 64", "experts"),
        ({"model_type": "dbrx", "ffn_config": {"moe_num_experts": 16}}, "ffn_config", "experts"),
        ({"model_type": "olmoe", "num_experts": 64}, "num_experts = 64", "experts"),
        ({"num_experts": 8}, "8 experts without num_experts_per_tok", "expected"),
        ({"index_topk": 2048}, "index_topk", "sparse attention"),
        ({"num_kv_shared_layers": 1}, "num_kv_shared_layers", "share"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder", "encoder"),
        ({"sliding_window": 128}, "sliding_window", "layer_types"),
        ({"model_type": "llamoid"}, "model_type = 'llamoid'", "did you mean 'llama'"),
        ({"hidden_act": "gelu_pytorch_tanh"}, "hidden_act", "model_type"),
        ({"surprising_layers": 7}, "surprising_layers = 7", "not understood"),
        ({"moe_layer_freq": 2, "num_experts": 8, "num_experts_per_tok": 2}, "moe_layer_freq = 2", "expected 1"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quant_method = 'bitsandbytes'", "fp8"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 8}}, "bits = 8", "expected 4"),
        ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}, "quant_algo = 'NVFP4'", "FP8"),
        ({"quantization_config": FP8 | {"kv_cache_quant_algo": "NVFP4"}}, "kv_cache_quant_algo = 'NVFP4'", "FP8"),
        (
            {"quantization_config": FP8 | {"kv_cache_scheme": {"type": "int", "num_bits": 8}}},
            "kv_cache_scheme",
            "float",
        ),
        ({"quantization_config": FP8 | {"modules_in_block_to_quantize": ["q"]}}, "modules_in_block_to_quantize", "not"),
        ({"quantization_config": GPTQ | {"lm_head": True}}, "lm_head = True", "not understood"),
        ({"quantization_config": GPTQ | {"dynamic": {"+:.*mlp.*": {"bits": 8}}}}, "dynamic has '+:.*mlp.*'", "'-:'"),
        (
            {
                "quantization_config": {
                    "quant_method": "compressed-tensors",
                    "config_groups": {"group_0": {"targets": ["re:.*mlp.*"], "weights": {"type": "float"}}},
                }
            },
            "group_0.targets = ['re:.*mlp.*']",
            "expected ['Linear']",
        ),
        ({"quantization_config": "fp8"}, "quantization_config = 'fp8'", "quant_method"),
        ({"torch_dtype": "float8_e4m3fn"}, "torch_dtype = 'float8_e4m3fn'", "quantization_config"),
        ({"num_hidden_layers": True}, "num_hidden_layers = True", "whole number"),
        ({"layer_types": ["full_attention"]}, "layer_types has 1 layers", "num_hidden_layers = 2"),
        ({"head_dim": None, "hidden_size": 1001}, "hidden_size = 1001", "add head_dim"),
        (
            {"num_attention_heads": 6, "num_key_value_heads": 4, "head_dim": 8},
            "num_key_value_heads = 4",
            "does not divide",
        ),
    ],
)
def test_what_is_not_understood_is_refused_by_its_key(tmp_path, changes, key, words):
    said = refused(tmp_path, **changes)
    assert key in said
    assert words in said


def test_keys_that_change_nothing_are_taken(tmp_path):
    idle = {"initializer_range": 0.02, "bos_token_id": 1, "torch_dtype": "bfloat16", "attention_dropout": 0.1}
    off = {"surprising_layers": None, "num_kv_shared_layers": 0, "use_sliding_window": False, "audio_config": {}}
    assert read(tmp_path, **idle, **off).parameters == read_hf_config(write_config(tmp_path / "b")).parameters


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"num_local_experts": 8, "num_experts_per_tok": 2}, (8, 2, 128, 0, 0)),
        ({"num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 32}, (16, 4, 32, 0, 0)),
        ({"num_local_experts": 8, "experts_per_token": 4}, (8, 4, 128, 0, 0)),
        (
            {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_shared_experts": 2}
            | {"first_k_dense_replace": 1},
            (8, 2, 32, 64, 1),
        ),
        (
            {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "mlp_only_layers": [0]}
            | {"shared_expert_intermediate_size": 48},
            (8, 2, 32, 48, 1),
        ),
        (
            {"model_type": "llama4_text", "num_local_experts": 4, "num_experts_per_tok": 1}
            | {"interleave_moe_layer_step": 2, "intermediate_size_mlp": 256},
            (4, 1, 128, 128, 1),
        ),
    ],
)
def test_experts(tmp_path, keys, expected):
    model = read(tmp_path, **keys)

    names = (
        "num_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
        "shared_intermediate_size",
        "num_dense_layers",
    )
    assert model.experts == Experts(**dict(zip(names, expected, strict=True)))


def test_latent_attention(tmp_path):
    model = read(tmp_path, model_type="deepseek_v3", num_key_value_heads=8, **LATENT)

    assert model.latent_attention == LatentAttention(**LATENT)
    assert model.kv_bytes_per_token == 2 * (16 + 4) * 2
    attention = 24 * (64 + 8 * 12) + 64 * 20 + 16 * 8 * 16 + 64 * 8 * 8
    norms = 24 + 16 + 2 * 64
    assert model.parameters == 1000 * 64 + 64 + 2 * (attention + 3 * 64 * 128 + norms)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"model_type": "mistral", "sliding_window": 128}, (128, 2)),
        ({"model_type": "mistral", "sliding_window": None}, None),
        ({"model_type": "mistral", "sliding_window": 512}, None),  # as long as the model's context
        ({"model_type": "gemma2", "sliding_window": 128}, (128, 1)),
        ({"model_type": "gemma3_text", "sliding_window": 128, "num_hidden_layers": 8}, (128, 7)),
        ({"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 64}, (64, 1)),
        ({"model_type": "qwen2", "sliding_window": 128, "use_sliding_window": False}, None),
        ({"model_type": "qwen2", "sliding_window": 128, "use_sliding_window": True, "max_window_layers": 1}, (128, 1)),
        ({"model_type": "llama4_text", "attention_chunk_size": 128, "num_hidden_layers": 8}, (128, 6)),
        ({"model_type": "llama4_text", "attention_chunk_size": 128, "no_rope_layers": [1, 0]}, (128, 1)),
    ],
)
def test_sliding_windows(tmp_path, keys, expected):
    window = read(tmp_path, **keys).sliding_window
    assert window == (expected and SlidingWindow(tokens=expected[0], layers=expected[1]))


@pytest.mark.parametrize(
    ("quantization", "dtype", "bits"),
    [
        (FP8, "fp8", 8),
        (FP8 | {"weight_block_size": [128, 128]}, "fp8_block", 8),
        ({"quant_method": "fbgemm_fp8"}, "fp8", 8),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, "int4", 4 + 20 / 128),
        ({"quant_method": "gptq", "bits": 4, "group_size": 64, "sym": True}, "int4", 4 + 16 / 64),
        ({"quant_method": "mxfp4"}, "mxfp4", 4.25),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8", 8),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"type": "float", "num_bits": 8}}},
            },
            "fp8",
            8,
        ),
        (
            {"quant_method": "compressed-tensors"}
            | {"config_groups": {"group_0": {"weights": {"type": "int", "num_bits": 4, "group_size": 32}}}},
            "int4",
            4.5,
        ),
    ],
)
def test_types_of_weights(tmp_path, quantization, dtype, bits):
    found = read(tmp_path, quantization_config=quantization).quantization
    assert (found.dtype, found.bits) == (dtype, bits)


@pytest.mark.parametrize(
    ("ignored", "parts"),
    [
        (
            ["lm_head", "model.layers.0.mlp.gate", "model.layers.1.mlp.gate", "re:.*router"],
            ("attention", "mlp", "experts"),
        ),
        (["re:.*self_attn.*", "lm_head"], ("mlp", "experts")),
        (["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"], ("mlp", "experts")),
        (["re:.*self_attn.*", "re:.*shared_experts.*"], ("experts",)),
        (["model.vision_model.attention"], ("attention", "mlp", "experts")),
    ],
)
def test_modules_that_stay_as_they_are(tmp_path, ignored, parts):
    assert read(tmp_path, quantization_config=FP8 | {"modules_to_not_convert": ignored}).quantization.parts == parts


@pytest.mark.parametrize(
    "quantization",
    [
        {"quant_method": "modelopt", "quant_algo": "FP8", "exclude_modules": ["lm_head", "model.layers.*.self_attn*"]},
        GPTQ | {"dynamic": {"-:.*self_attn.*": {}}},
    ],
)
def test_tools_name_what_stays_as_it_is_in_ways_of_their_own(tmp_path, quantization):
    assert read(tmp_path, quantization_config=quantization).quantization.parts == ("mlp", "experts")


@pytest.mark.parametrize(
    ("said", "dtype"),
    [
        ({}, "bfloat16"),
        ({"kv_cache_quant_algo": None, "kv_cache_scheme": None}, "bfloat16"),
        ({"kv_cache_quant_algo": "FP8"}, "fp8"),
        ({"kv_cache_scheme": {"type": "float", "num_bits": 8}}, "fp8"),
    ],
)
def test_keys_and_values_have_the_type_that_the_checkpoint_was_scaled_for(tmp_path, said, dtype):
    modelopt = {"quant_method": "modelopt", "quant_algo": "FP8"}
    assert read(tmp_path, quantization_config=modelopt | said).kv_cache_dtype == dtype


def test_quantization_leaves_embeddings_and_norms_alone(tmp_path):
    model = read(tmp_path, quantization_config=FP8)
    matrices = 2 * (2 * 64 * 64 + 2 * 64 * 16 + 3 * 64 * 128)
    assert model.weight_bytes == matrices + 2 * (model.parameters - matrices)


def test_sizes_in_text_config(tmp_path):
    path = tmp_path / "Gemma-3-1b" / "config.json"
    path.parent.mkdir()
    text = {key: value for key, value in CONFIG.items() if key not in ("vocab_size", "max_position_embeddings")}
    path.write_text(json.dumps({"model_type": "gemma3", "vision_config": {"hidden_size": 9}, "text_config": text}))
    model = read_hf_config(path)

    assert (model.name, model.vocab_size, model.max_model_len) == ("gemma-3-1b", 262_208, 131_072)
    assert model.not_modelled == ("images and sounds: the language model alone is modelled",)


def test_a_key_beside_text_config_is_looked_at_too(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "gemma3", "mamba_layers": 3, "text_config": CONFIG}))
    with pytest.raises(InputError, match="mamba_layers = 3"):
        read_hf_config(path)


@pytest.mark.parametrize(
    ("at", "changes", "name"),
    [
        ("Tiny-1B", {}, "tiny-1b"),
        ("Tiny-1B", {"_name_or_path": "someone/Other-2B"}, "other-2b"),
        ("models", {}, "model-0.000134b"),
        ("models--someone--Small-3B/snapshots/0123456789abcdef0123456789abcdef01234567", {}, "small-3b"),
    ],
)
def test_a_model_has_a_name_of_its_own(tmp_path, at, changes, name):
    assert read_hf_config(write_config(tmp_path, at, **changes)).name == name


def test_a_name_that_is_given_stands(tmp_path):
    assert load_model(str(write_config(tmp_path)), "mine").name == "mine"


@pytest.mark.parametrize(("kind", "matrices"), [("llama", 3), ("starcoder2", 2), ("nemotron", 2), ("arcee", 2)])
def test_the_type_says_whether_the_mlp_is_gated(tmp_path, kind, matrices):
    model = read(tmp_path, model_type=kind, hidden_act="gelu_pytorch_tanh")
    assert model.layer_parameters()["mlp"] == 2 * matrices * 64 * 128


@pytest.mark.parametrize("junk", [{}, {"a": 1}, [], [[]], [None], [{}], "x", "", True, -1, 1.5, 1e308, 10**19])
def test_whatever_stands_at_a_key_is_taken_or_refused(tmp_path, junk):
    keys = [*CONFIG, "model_type", "layer_types", "mlp_only_layers", "no_rope_layers", "quantization_config"]
    keys += ["head_dim"]
    keys += ["num_experts", "sliding_window", "kv_lora_rank", "torch_dtype", "text_config", "attention_bias"]
    path = tmp_path / "config.json"
    for key in keys:
        for others in (CONFIG, {"text_config": CONFIG, "model_type": "gemma3"}):
            path.write_text(json.dumps(others | {key: junk}))
            with contextlib.suppress(InputError):
                assert read_hf_config(path).parameters
