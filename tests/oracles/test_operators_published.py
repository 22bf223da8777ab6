"""Operators of mixtures of experts, latent attention and fp8: vectors and sanity of NEXT_SYSTEMS.md, section 3."""

from itertools import product

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.latency.compose import Choices, compose
from llmsim.latency.hardware import load_gpu, load_model
from llmsim.latency.operators import ExpertSizes, Heads, Kernels, Operators
from llmsim.latency.profile import load_profile
from llmsim.latency.table import StepTable
from places import evidence

VLLM, SGLANG, SGLANG_OLD = Kernels("vllm", "0.24.0"), Kernels("sglang", "0.5.14"), Kernels("sglang", "0.5.9")
#: us of one layer's routed experts at 1, 16, 64, 256 evenly dealt tokens on an H100
LAYERS_US = {
    "qwen3-30b-a3b": [49, 420, 432, 461],
    "gpt-oss-120b": [63, 368, 689, 701],
    "mixtral-8x7b": [259, 958, 969, 1065],
}


def operators(gpu, kernels=VLLM):
    return Operators(evidence("profiles/ops_moe"), gpu, kernels)


def sizes(model, gpus=1):
    experts = model.experts
    inner, per_token = experts.moe_intermediate_size, experts.num_experts_per_tok
    dtype = model.dtype_of("experts")
    return ExpertSizes(model.hidden_size, inner, per_token, experts.num_experts, gpus, 1, dtype)


@pytest.mark.parametrize("name", LAYERS_US)
def test_experts_of_a_layer_take_what_was_read_off_by_hand(name):
    tokens, time_s = operators("h100_sxm").moe_s(sizes(load_model(name)))
    found = [1e6 * float(time_s[tokens.tolist().index(n)]) for n in (1, 16, 64, 256)]
    assert [round(us) for us in found] == LAYERS_US[name]


@pytest.mark.parametrize(("name", "percent"), [("qwen3-30b-a3b", 85), ("gpt-oss-120b", 73), ("mixtral-8x7b", 88)])
def test_the_plateau_is_the_time_to_read_all_experts(name, percent):
    model = load_model(name)
    tokens, time_s = operators("h100_sxm").moe_s(sizes(model))
    all_awake = {"qwen3-30b-a3b": 16, "gpt-oss-120b": 64, "mixtral-8x7b": 16}[name]
    read = model.layer_parameters()["experts"] / model.moe_layers * model.weight_bytes_of("experts")

    share = read / 3.35e12 / float(np.interp(all_awake, tokens, time_s))
    assert 100 * share == pytest.approx(percent, abs=1.5)


@pytest.mark.parametrize(
    ("name", "gpu"),
    list(product(["qwen3-30b-a3b", "qwen3-235b-a22b", "mixtral-8x7b"], ["h100_sxm", "h200_sxm", "b200_sxm"])),
)
def test_plateaus_lie_between_100_and_150_percent_of_the_bandwidth(name, gpu):
    model = load_model(name)
    tokens, time_s = operators(gpu).moe_s(sizes(model))
    read = model.layer_parameters()["experts"] / model.moe_layers * 2
    all_awake = model.experts.num_experts / model.experts.num_experts_per_tok

    bandwidth = load_gpu(gpu.partition("_")[0]).memory_bandwidth_bytes_per_s
    assert 1.0 <= float(np.interp(all_awake, tokens, time_s)) / (read / bandwidth) <= 1.5


@pytest.mark.parametrize(("gpu", "kernels"), [("h200-sxm", SGLANG), ("b200-sxm", SGLANG)])
def test_experts_that_are_read_faster_than_memory_gives_them_are_refused(gpu, kernels):
    with pytest.raises(InputError, match=r"deepseek-r1 take (85|74) % of the time to read all of them"):
        compose(evidence("profiles/ops_moe"), load_gpu(gpu), load_model("deepseek-r1"), 8, Choices(kernels))


@pytest.mark.parametrize("gpu", ["h100-sxm-80gb", "h200-sxm", "b200-sxm"])
def test_fp8_products_that_are_bound_by_their_launch_are_refused(gpu):
    with pytest.raises(InputError, match=r"fp8_block of vllm/0\.24\.0 take \d+ us and more.*sglang/0\.5\.14"):
        compose(evidence("profiles/ops_moe"), load_gpu(gpu), load_model("qwen3-32b-fp8"), 2, Choices(VLLM))


@pytest.mark.parametrize(
    ("gpu", "bf16", "fp8"),
    [("h100_sxm", (119, 688), (76, 388)), ("h200_sxm", (81, 491), (71, 354)), ("b200_sxm", (49, 309), (32, 160))],
)
def test_decode_attention_of_64_sequences_with_a_cache_in_fp8(gpu, bf16, fp8):
    for dtype, expected in (("bfloat16", bf16), ("fp8", fp8)):
        column = operators(gpu).decode_attention_s(Heads(32, 8, 128, dtype))[64]
        assert [1e6 * column[context] for context in (1024, 8192)] == pytest.approx(expected, rel=0.25)


def test_windows_were_measured_as_windows():
    for gpu in ("h100_sxm", "h200_sxm", "b200_sxm"):  # the H200's of vLLM 0.19.0 were not
        inside = operators(gpu).decode_attention_s(Heads(64, 8, 64, "bfloat16", 128))
        full = operators(gpu).decode_attention_s(Heads(64, 8, 64))
        assert inside[64][8192] < 0.2 * full[64][8192]


def test_all_reduces_are_those_of_a_graph():
    elements, time_s = operators("h100_sxm").all_reduce_s(8)
    found = [1e6 * float(time_s[elements.tolist().index(2**k)]) for k in (13, 16, 19, 22)]
    assert found == pytest.approx([5.3, 7.9, 15.0, 50.7], abs=0.06)


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        (("h100-sxm-80gb", "gpt-oss-120b", 2), Choices(VLLM)),
        (("h200-sxm", "deepseek-r1", 8), Choices(SGLANG_OLD)),
        (("b200-sxm", "qwen3-235b-a22b-fp8", 2), Choices(VLLM, SGLANG)),
        (("h100-sxm-80gb", "qwen3-235b-a22b-fp8", 8), Choices(VLLM, SGLANG, expert_parallel=True)),
    ],
)
def test_shipped_profiles_are_what_compose_gives_today(key, choices):
    gpu, model, size = key
    shipped = load_profile(*key)
    composed = compose(evidence("profiles/ops_moe"), load_gpu(gpu), load_model(model), size, choices)

    for part in ("architecture", "expert_parallel_size", "linear", "head", "prefill_attention", "decode_attention"):
        assert getattr(composed, part) == getattr(shipped, part)


def decode_ms(name, batch):
    return 1e3 * StepTable(load_profile("h100-sxm-80gb", name)).step_time_s((), batch, 512 * batch)


@pytest.mark.parametrize(("batch", "ms"), [(1, 4.71), (8, 11.5), (64, 23.6), (256, 29.9)])
def test_decode_steps_of_a_mixture_are_those_composed_by_others(batch, ms):
    assert decode_ms("qwen3-30b-a3b", batch) == pytest.approx(ms, rel=0.01)


def test_a_mixture_needs_larger_batches_than_a_dense_model():
    rate = {name: [n / decode_ms(name, n) for n in (1, 2, 4, 64)] for name in ("llama-3.1-8b", "qwen3-30b-a3b")}
    dense, mixture = rate["llama-3.1-8b"], rate["qwen3-30b-a3b"]

    assert 40 < dense[3] / dense[0] < 50
    assert 11 < mixture[3] / mixture[0] < 15
    assert mixture[0] > dense[0]  # 3 of 30 billion parameters are read
    assert mixture[2] < dense[2]


def test_blocks_of_fp8_as_vllm_012_takes_them_take_as_long_for_4_sequences_as_for_20():
    """Measured: 51.4 to 58.7 ms on two H200, whatever the batch; the shipped form grows with the experts that wake."""
    gpu, model = load_gpu("h200-sxm"), load_model("qwen3-235b-a22b-fp8")
    ops = evidence("profiles/ops_moe")
    launched = StepTable(compose(ops, gpu, model, 2, Choices(VLLM, launched=True)))
    shipped = StepTable(compose(ops, gpu, model, 2, Choices(VLLM, SGLANG)))

    few, more = (launched.step_time_s((), n, n * 1500) for n in (4, 20))
    assert few == pytest.approx(more, rel=0.06)
    assert few == pytest.approx(0.052, rel=0.15)
    assert shipped.step_time_s((), 20, 30_000) > 1.7 * shipped.step_time_s((), 4, 6_000)
    with pytest.raises(InputError, match="launches, not work"):
        compose(ops, gpu, model, 2, Choices(VLLM))
