import json

import pytest

from llmsim.errors import InputError
from llmsim.latency import hardware
from llmsim.latency.hardware import (
    Model,
    kv_blocks,
    list_gpus,
    list_models,
    load_gpu,
    load_model,
    overhead_bytes,
    profiles_dir,
)

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


def write_config(folder, **changes):
    path = folder / "Tiny-1B" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({k: v for k, v in (CONFIG | changes).items() if v is not None}))
    return path


@pytest.mark.parametrize("name", list_gpus())
def test_gpu_profile_bears_its_file_name(name):
    assert load_gpu(name).name == name


@pytest.mark.parametrize("name", list_models())
def test_model_profile_bears_its_file_name(name):
    assert load_model(name).name == name


def test_wanted_profiles_are_shipped():
    assert {"a100-sxm4-80gb", "h100-sxm-80gb", "h200-sxm", "l40s"} <= set(list_gpus())
    assert {"llama-3.1-8b", "llama-3.1-70b", "qwen2.5-14b", "qwen2-7b", "qwen3-14b", "llama-2-7b"} <= set(list_models())


def test_unknown_gpu_names_the_nearest():
    with pytest.raises(InputError, match=r"no gpu profile named 'h100-sxm-80g'; did you mean 'h100-sxm-80gb'\?"):
        load_gpu("h100-sxm-80g")


def test_the_nearest_may_be_written_in_capitals():
    with pytest.raises(InputError, match="did you mean 'h100-sxm-80gb'"):
        hardware.load_gpu("H100-SXM-80GB")


def test_unknown_model_names_the_nearest():
    with pytest.raises(InputError, match=r"did you mean 'llama-3\.1-8b'\?"):
        load_model("llama-3-8b")


def test_profile_from_a_file_of_ones_own(tmp_path):
    text = (profiles_dir() / "gpus" / "l40s.toml").read_text().replace('"l40s"', '"mine"')
    (tmp_path / "mine.toml").write_text(text)

    assert load_gpu(str(tmp_path / "mine.toml")).name == "mine"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "memory_bytes",
            "memory_byte",
            r"mine\.toml: (memory_bytes is missing|unknown key memory_byte; did you)",
        ),
        ("price_usd_per_hour = 1.2", "price_usd_per_hour = -1", "price_usd_per_hour = -1, expected greater"),
        (
            "price_usd_per_hour = 1.2",
            'price_usd_per_hour = "x"',
            "price_usd_per_hour = 'x', expected a valid",
        ),
        ('source = "', 'sauce = "', "provenance.source is missing"),
        ("name =", "name", "not TOML"),
    ],
)
def test_bad_profile_is_one_clear_line(tmp_path, old, new, message):
    text = (profiles_dir() / "gpus" / "l40s.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace(old, new, 1))

    with pytest.raises(InputError, match=message) as caught:
        load_gpu(str(tmp_path / "mine.toml"))
    assert "\n" not in str(caught.value)


def test_profiles_lie_in_the_package_once_installed(tmp_path, monkeypatch):
    inside = tmp_path / "llmsim" / "_data" / "hardware_profiles"
    inside.mkdir(parents=True)
    monkeypatch.setattr(hardware, "__file__", str(tmp_path / "llmsim" / "latency" / "hardware.py"))

    assert profiles_dir() == inside


def test_hugging_face_config(tmp_path):
    model = load_model(str(write_config(tmp_path)))

    assert (model.name, model.head_dim, model.kv_size, model.max_model_len) == ("tiny-1b", 8, 16, 512)
    layer = 2 * 64 * 64 + 2 * 64 * 16 + 3 * 64 * 128 + 2 * 64
    assert model.parameters == 1000 * 64 + 2 * layer + 64


def test_hugging_face_config_without_kv_heads_is_multi_head(tmp_path):
    assert Model.from_hf_config(write_config(tmp_path, num_key_value_heads=None)).num_key_value_heads == 8


def test_hugging_face_config_with_head_dim_of_its_own(tmp_path):
    assert Model.from_hf_config(write_config(tmp_path, head_dim=32)).query_size == 8 * 32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_local_experts": 8}, "num_local_experts = 8, expected a dense model"),
        ({"kv_lora_rank": 512}, "kv_lora_rank = 512, expected a dense model"),
        ({"intermediate_size": None}, "intermediate_size is missing"),
        ({"hidden_size": "big"}, "is missing|hidden_size = 'big', expected"),
        ({"num_attention_heads": 0}, "expected|missing"),
    ],
)
def test_hugging_face_config_that_does_not_do(tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        Model.from_hf_config(write_config(tmp_path, **changes))
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[]", "expected a JSON object")])
def test_hugging_face_config_that_is_none(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=message):
        Model.from_hf_config(tmp_path / "config.json")


def test_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        load_model(str(tmp_path / "config.json"))
    with pytest.raises(InputError, match="No such file"):
        load_gpu(str(tmp_path / "gpu.toml"))


def test_kv_blocks_are_what_weights_and_activations_leave():
    gpu, model = load_gpu("h100-sxm-80gb"), load_model("llama-3.1-70b")
    block_bytes = 16 * 80 * 2 * (8 // 4) * 128 * 2  # tokens x layers x (K, V) x heads on a GPU x elements x bytes
    left = gpu.memory_bytes * 0.8 - model.weight_bytes / 4 - overhead_bytes(model, 4, 2048)

    blocks = kv_blocks(gpu, model, tensor_parallel_size=4, gpu_memory_utilization=0.8, max_num_batched_tokens=2048)

    assert blocks == int(left // block_bytes)


def test_kv_heads_are_copied_when_there_are_fewer_than_gpus():
    gpu, model = (
        load_gpu("a100-sxm4-80gb"),
        load_model("qwen2-7b").model_copy(update={"num_attention_heads": 32}),
    )

    four = kv_blocks(gpu, model, tensor_parallel_size=4)
    eight = kv_blocks(gpu, model, tensor_parallel_size=8)

    assert 1 < eight / four < 1.1  # more room, but blocks of the same size


def test_model_that_does_not_fit_says_by_how_much():
    with pytest.raises(InputError, match=r"does not fit 1 x h100.*141\.1 GB of weights.*leaves 76\.4 GB"):
        kv_blocks(load_gpu("h100-sxm-80gb"), load_model("llama-3.1-70b"))


@pytest.mark.parametrize("size", [0, 3])
def test_tensor_parallel_size_divides_the_heads(size):
    with pytest.raises(InputError, match=f"tensor_parallel_size = {size}, expected a divisor of the 32"):
        kv_blocks(load_gpu("h100-sxm-80gb"), load_model("llama-3.1-8b"), tensor_parallel_size=size)


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_memory_utilization_is_a_fraction(share):
    with pytest.raises(InputError, match="gpu_memory_utilization"):
        kv_blocks(load_gpu("l40s"), load_model("llama-3.1-8b"), gpu_memory_utilization=share)
