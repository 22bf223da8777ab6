"""Sizes against what the models' authors and engines publish."""

import pytest

from llmsim.latency.hardware import kv_blocks, load_gpu, load_model
from llmsim.latency.kv_memory import blocks_beside_windows
from places import evidence


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
        ("qwen3-8b", 8_190_735_360),
        ("mixtral-8x7b", 46_702_792_704),
        ("qwen3-30b-a3b", 30_532_122_624),
        ("qwen3-235b-a22b", 235_093_634_560),
        ("gpt-oss-20b", 20_914_757_184),
        ("gpt-oss-120b", 116_829_156_672),
        ("gemma-3-27b", 27_009_346_304),  # the language model of it
        ("deepseek-v3", 671_026_419_200),  # without the layer that predicts a second token
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


#: parameters and active ones in 10^9, KV bytes of a token in bf16: NEXT_SYSTEMS.md, table 3.1
TABLE = {
    "Mixtral-8x7B-v0.1": (46.70, 12.88, 131_072),
    "Qwen3-30B-A3B": (30.53, 3.35, 98_304),
    "Qwen3-235B-A22B": (235.09, 22.19, 192_512),
    "Qwen3-235B-A22B-FP8": (235.09, 22.19, 192_512),
    "gpt-oss-120b": (116.8, 5.7, 36_864 + 36_864),
    "DeepSeek-V3": (671.03, 37.55, 70_272),
    "DeepSeek-R1": (671.03, 37.55, 70_272),
}


@pytest.mark.parametrize("name", TABLE)
def test_configs_as_published_with_the_models(name):
    model = load_model(str(evidence(f"models/{name}/config.json")))
    parameters, active, kv_bytes = TABLE[name]

    digits = 1 if name == "gpt-oss-120b" else 2
    assert round(model.parameters / 1e9, digits) == parameters
    assert abs(model.active_parameters / 1e9 - active) < (0.1 if digits == 1 else 0.005)
    assert model.kv_bytes_per_token == kv_bytes


@pytest.mark.parametrize(
    "name", ["mixtral-8x7b", "qwen3-30b-a3b", "qwen3-235b-a22b-fp8", "gpt-oss-120b", "deepseek-r1"]
)
def test_shipped_models_are_those_of_the_configs(name):
    folder = {path.name.lower().removesuffix("-v0.1"): path for path in evidence("models").iterdir()}[name]
    read, shipped = load_model(str(folder / "config.json")), load_model(name)

    assert shipped.architecture == read.architecture
    assert (shipped.parameters, shipped.max_model_len) == (read.parameters, read.max_model_len)


@pytest.mark.parametrize(
    ("tokens", "kv_bytes"),
    [(100, 7_372_800), (128, 9_437_184), (1_000, 41_582_592), (8_192, 306_708_480), (131_072, 4_836_556_800)],
)
def test_layers_with_a_window_keep_no_more_than_that(tokens, kv_bytes):
    assert load_model("gpt-oss-120b").kv_bytes(tokens) == kv_bytes


@pytest.mark.parametrize(("tokens", "gb"), [(8_192, 1.107), (32_768, 3.121)])
def test_five_of_six_layers_of_gemma_3_have_a_window(tokens, gb):
    assert round(load_model("gemma-3-27b").kv_bytes(tokens) / 1e9, 3) == gb


AWAKE = {
    "mixtral-8x7b": [2, 3.5, 5.469, 7.199, 7.920, 7.999, 8.0],
    "qwen3-30b-a3b": [8, 15.5, 29.123, 51.620, 82.423, 111.771, 125.942],
    "gpt-oss-120b": [4, 7.875, 15.266, 28.710, 50.981, 81.657, 111.221],
    "deepseek-v3": [8, 15.75, 30.531, 57.421, 101.962, 163.314, 222.442],
}


@pytest.mark.parametrize("name", AWAKE)
def test_experts_that_tokens_wake(name):
    awake = [load_model(name).experts.awake(2**power) for power in range(7)]
    assert awake == pytest.approx(AWAKE[name], abs=6e-4)


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


@pytest.mark.parametrize(
    ("tokens", "full", "window"),
    [(1, 1, 1), (128, 8, 8), (129, 9, 9), (144, 9, 8), (145, 10, 9), (1000, 63, 9), (8192, 512, 8)],
)
def test_pages_of_a_sequence_in_vllms_groups(tokens, full, window):
    # NEXT_SYSTEMS.md, 3.5: the windows that are set aside hold every sequence's
    assert -(-tokens // 16) == full
    assert -(-tokens // 16) - max(0, tokens - 128) // 16 == window <= 128 // 16 + 1


def test_windows_of_all_seats_are_set_aside():
    model, page = load_model("gpt-oss-120b"), 18 * 16 * 2048  # two groups of 18 layers
    free = 10_000 * page

    assert blocks_beside_windows(model, free, 2 * page, 16, 100) == 10_000 - 100 * 9
    assert blocks_beside_windows(load_model("llama-3.1-8b"), free, 16 * 131_072, 16, 100) == 0
    gemma, page = (
        load_model("gemma-3-27b"),
        10 * 16 * 8192,
    )  # one group of 10 full layers, six of up to 10 with a window
    assert blocks_beside_windows(gemma, 10_000 * page, 62 * 16 * 8192, 16, 4) == 10_000 - 4 * 6 * 65


def test_sequences_at_8192_tokens_need_half_the_memory_of_full_layers():
    gpu, model = load_gpu("h200"), load_model("gpt-oss-120b")
    all_full, beside = (kv_blocks(gpu, model, max_num_seqs=seats) for seats in (None, 100))

    assert all_full / beside == pytest.approx(0.508, abs=0.01)  # with 100 sequences of 512 + 9 pages and more


def test_many_seats_never_leave_less_than_without_windows():
    gpu, model = load_gpu("h200"), load_model("gemma-3-27b")
    assert kv_blocks(gpu, model, max_num_seqs=1024) == kv_blocks(gpu, model)
