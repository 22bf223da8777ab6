"""Sizes against what the models' authors and engines publish."""

import pytest

from llmsim.latency.hardware import kv_blocks, load_gpu, load_model


@pytest.mark.parametrize(
    ("model", "parameters"),  # as Hugging Face counts the published safetensors
    [
        ("llama-3.1-8b", 8_030_261_248),
        ("llama-3.1-70b", 70_553_706_496),
        ("llama-2-7b", 6_738_415_616),
        ("qwen2-7b", 7_615_616_512),
        ("qwen2.5-14b", 14_770_033_664),
        ("qwen3-14b", 14_768_307_200),
        ("opt-13b", 12_853_473_280),
    ],
)
def test_parameters_are_those_published(model, parameters):
    assert load_model(model).parameters == parameters


@pytest.mark.parametrize(
    ("model", "kib_per_token"),
    [("llama-3.1-8b", 128), ("llama-3.1-70b", 320), ("llama-2-7b", 512), ("opt-13b", 800), ("qwen2-7b", 56)],
)
def test_kv_bytes_per_token(model, kib_per_token):
    assert load_model(model).kv_bytes_per_token == kib_per_token * 1024


@pytest.mark.parametrize("gpu", ["h100-sxm-80gb", "a100-sxm4-80gb"])
def test_blocks_of_llama_3_8b_are_those_vllm_reports(gpu):
    assert 27_000 < kv_blocks(load_gpu(gpu), load_model("llama-3.1-8b")) < 28_000


def test_opt_13b_on_an_a100_holds_what_distserve_measured():
    # DistServe's max_num_tokens.csv: 66,144 tokens on one A100-80GB; it does not say with which utilization
    gpu, model = load_gpu("a100-sxm4-80gb"), load_model("opt-13b")
    low, high = (
        16 * kv_blocks(gpu, model, gpu_memory_utilization=share, max_num_batched_tokens=2048) for share in (0.90, 0.97)
    )
    assert low < 66_144 < high
