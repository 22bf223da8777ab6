"""Step times against formulas that do not come from our code."""

import json

import pytest

from llmsim.errors import InputError
from llmsim.latency.fitted import Fitted
from llmsim.latency.hardware import load_gpu, load_model
from llmsim.latency.model import SlidingWindow
from llmsim.latency.roofline import Efficiencies, Roofline
from llmsim.latency.sources.constant import Constant
from places import evidence

PERFECT = Efficiencies(1.0, 1.0, 1.0, 1.0, launch_s=0.0, all_reduce_s=0.0)
GPU, MODEL = load_gpu("h100-sxm-80gb"), load_model("llama-3.1-8b")


def test_one_decode_reads_all_weights_once():
    weights = 2 * (8_030_261_248 - 128_256 * 4096)  # the embedding table is looked up, not read
    expected = weights / 3.35e12

    assert Roofline(GPU, MODEL, efficiencies=PERFECT).step_time_s((), 1, 1) == pytest.approx(expected, rel=0.01)


def test_each_token_of_context_is_read_once():
    roofline = Roofline(GPU, MODEL, efficiencies=PERFECT)
    slope_s = roofline.step_time_s((), 8, 90_000) - roofline.step_time_s((), 8, 80_000)

    assert slope_s == pytest.approx(10_000 * 131_072 / 3.35e12)


def test_long_prefill_takes_two_flops_a_parameter_and_four_an_attended_pair():
    tokens, in_layers = 16_384, 8_030_261_248 - 2 * 128_256 * 4096
    flop = 2 * in_layers * tokens + 32 * 4 * 4096 * tokens * (tokens + 1) / 2
    moved = 2 * tokens * 32 * (8 * 4096 + 3 * 14_336) / 3.35e12  # norms and activations
    expected = flop / 989e12 + moved

    time_s = Roofline(GPU, MODEL, efficiencies=PERFECT).step_time_s(((0, tokens),), 0, 0)
    assert time_s == pytest.approx(expected, rel=0.005)


def test_chunks_of_a_prompt_attend_to_as_many_pairs_as_the_whole():
    roofline = Roofline(GPU, MODEL, efficiencies=PERFECT)

    def attention_s(computed, chunk):
        return roofline.step_time_s(((computed, chunk),), 0, 0) - roofline.step_time_s((), 1, 0)

    per_token = [attention_s(c, 2048) - attention_s(0, 2048) for c in (2048, 4096)]
    assert per_token == pytest.approx([2048 * c * 32 * 4 * 4096 / 989e12 for c in (2048, 4096)])


def test_tensor_parallelism_divides_the_work_and_pays_the_wires():
    tokens, one, four = 8192, Roofline(GPU, MODEL, 1, PERFECT), Roofline(GPU, MODEL, 4, PERFECT)
    wires_s = 32 * 2 * 2 * 3 / 4 * (2 * tokens * 4096) / 450e9
    norms_s = 32 * 2 * 2 * tokens * 4 * 4096 / 3.35e12  # not divided

    whole_s = one.step_time_s(((0, tokens),), 0, 0) - norms_s
    assert four.step_time_s(((0, tokens),), 0, 0) == pytest.approx(whole_s / 4 + norms_s + wires_s, rel=0.01)


def test_one_token_reads_the_experts_that_it_is_sent_to():
    model = load_model("qwen3-30b-a3b")
    read = 2 * (model.active_parameters - 151_936 * 2048)  # the embedding table is looked up, not read

    assert Roofline(GPU, model, efficiencies=PERFECT).step_time_s((), 1, 1) == pytest.approx(read / 3.35e12, rel=0.01)


def test_many_tokens_read_all_experts_and_compute_k_each():
    model, tokens = load_model("mixtral-8x7b"), 16_384
    in_layers = model.active_parameters - 2 * 32_000 * 4096
    flop = 2 * in_layers * tokens + 32 * 4 * 4096 * tokens * (tokens + 1) / 2
    moved = 2 * tokens * 32 * 8 * 4096 / 3.35e12

    time_s = Roofline(GPU, model, efficiencies=PERFECT).step_time_s(((0, tokens),), 0, 0)
    assert time_s == pytest.approx(flop / 989e12 + moved, rel=0.005)


def test_layers_with_a_window_read_no_more_than_it():
    model = load_model("gpt-oss-120b")
    roofline = Roofline(GPU, model, efficiencies=PERFECT)

    for a, b in ((100, 128), (1_000, 8_192)):
        read_s = roofline.step_time_s((), 1, b) - roofline.step_time_s((), 1, a)
        assert read_s == pytest.approx((model.kv_bytes(b) - model.kv_bytes(a)) / 3.35e12)


def test_steps_in_a_row_end_their_line_at_the_window():
    roofline = Roofline(GPU, load_model("gpt-oss-120b"))
    first_s, growth_s, steps = roofline.decode_line(3, 3 * 120)

    assert steps == 9  # contexts 120 to 128
    for k in range(steps):
        assert first_s + k * growth_s == pytest.approx(roofline.step_time_s((), 3, 3 * (120 + k)), rel=1e-12)
    assert roofline.decode_line(3, 3 * 129)[2] > 10**9


def test_a_prompt_in_a_window_attends_to_as_many_pairs_as_counted_one_by_one():
    model = load_model("gpt-oss-120b").model_copy(update={"sliding_window": SlidingWindow(tokens=128, layers=36)})
    roofline = Roofline(GPU, model, efficiencies=PERFECT)

    for computed, chunk in ((0, 100), (0, 4000), (100, 2000), (500, 3000)):
        pairs = sum(min(position, 128) for position in range(computed + 1, computed + chunk + 1))
        attention_s = roofline.step_time_s(((computed, chunk),), 0, 0) - roofline._rest_s(chunk, 1)
        read_s = min(computed + chunk, chunk + 128) * model.kv_bytes_per_token / 3.35e12
        assert attention_s == pytest.approx(max(36 * 4 * 4096 * pairs / 989e12, read_s))


def test_latent_attention_computes_242_flop_for_each_byte():
    model = load_model("deepseek-v3")  # 128 heads x 2 x (576 + 512) FLOP for 1,152 bytes
    roofline = Roofline(load_gpu("h200-sxm"), model, 8, PERFECT)

    slope_s = (roofline.step_time_s((), 8, 90_000) - roofline.step_time_s((), 8, 80_000)) / 10_000
    flop_s, read_s = 61 * 2 * 16 * (576 + 512) / 989e12, 61 * 1152 / 4.8e12
    assert pytest.approx(242, abs=0.5) == 128 * 2 * (576 + 512) / 1152
    assert slope_s == pytest.approx(max(flop_s, read_s))


def test_fp8_weights_halve_what_is_read_and_double_what_is_computed():
    fp8 = load_model("llama-3.1-8b-fp8")
    in_layers = 8_030_261_248 - 2 * 128_256 * 4096
    head = 128_256 * 4096

    one_s = Roofline(GPU, fp8, efficiencies=PERFECT).step_time_s((), 1, 1)
    assert one_s == pytest.approx((in_layers + 2 * head) / 3.35e12, rel=0.01)
    tokens = 16_384
    pairs_s = 32 * 4 * 4096 * tokens * (tokens + 1) / 2 / 989e12
    moved_s = 2 * tokens * 32 * (8 * 4096 + 3 * 14_336) / 3.35e12
    long_s = Roofline(GPU, fp8, efficiencies=PERFECT).step_time_s(((0, tokens),), 0, 0)
    assert long_s == pytest.approx(2 * in_layers * tokens / 1979e12 + pairs_s + moved_s, rel=0.005)


MS = 1e-3
OPT_13B = {
    "decoding_large_small_bs_threshold": 95,
    "prefill": [18.0, 0.1, 7e-6],
    "decoding_smallbs": [20.0, 6e-4, 0.04],
    "decoding_largebs": [7.0, 5e-4, 0.16],
}


@pytest.fixture
def fitted(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps({"facebook/opt-13b": {"1": OPT_13B}}))
    return Fitted.from_distserve(tmp_path / "p.json", "facebook/opt-13b")


@pytest.mark.parametrize(
    ("step", "expected_ms"),
    [
        ((((0, 500),), 0, 0), 18 + 0.1 * 500 + 7e-6 * 500**2),
        ((((0, 500), (0, 300)), 0, 0), 18 + 0.1 * 800 + 7e-6 * (500**2 + 300**2)),
        ((((200, 300),), 0, 0), 18 + 0.1 * 300 + 7e-6 * (500**2 - 200**2)),
        (((), 94, 20_000), 20 + 6e-4 * 20_000 + 0.04 * 94),
        (((), 95, 20_000), 7 + 5e-4 * 20_000 + 0.16 * 95),
        ((((0, 500),), 10, 5_000), 20 + 0.1 * 500 + 7e-6 * 500**2 + 6e-4 * 5_000 + 0.04 * 10),
    ],
)
def test_distserve_fit(fitted, step, expected_ms):
    assert fitted.step_time_s(*step) == pytest.approx(expected_ms * MS)


def test_distserve_profile_as_published():
    path = evidence("profiles/distserve/profiler-a100-80g.vllm.json")
    a, b, c = json.loads(path.read_text())["facebook/opt-13b"]["1"]["prefill"]

    fitted = Fitted.from_distserve(path, "facebook/opt-13b")
    assert fitted.step_time_s(((0, 1000),), 0, 0) == pytest.approx((a + b * 1000 + c * 1000**2) * MS)


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        ("opt-13b", 1, "no entry 'opt-13b'; did you mean 'facebook/opt-13b'"),
        ("facebook/opt-13b", 8, "no entry '8'"),
    ],
)
def test_distserve_profile_without_the_model(tmp_path, model, size, message):
    (tmp_path / "p.json").write_text(json.dumps({"facebook/opt-13b": {"1": OPT_13B}}))
    with pytest.raises(InputError, match=message):
        Fitted.from_distserve(tmp_path / "p.json", model, size)


def test_distserve_profile_with_a_coefficient_missing(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps({"m": {"1": OPT_13B | {"prefill": [1.0, 2.0]}}}))
    with pytest.raises(InputError, match=r"prefill = \[1\.0, 2\.0\], expected three coefficients in ms"):
        Fitted.from_distserve(tmp_path / "p.json", "m")


def test_constant_adds_its_parts():
    constant = Constant(step_s=1.0, prefill_token_s=0.01, decode_seq_s=0.1)

    assert constant.step_time_s(((0, 30), (7, 20)), 4, 999) == pytest.approx(1.0 + 50 * 0.01 + 4 * 0.1)


@pytest.mark.parametrize("parts", [(-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (float("nan"), 0.0, 0.0)])
def test_constant_refuses_steps_without_time(parts):
    with pytest.raises(InputError):
        Constant(*parts)


@pytest.mark.parametrize("bad", [(-1.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 2.0)])
def test_fitted_refuses_impossible_coefficients(bad):
    good = (1.0, 0.0, 0.0)
    with pytest.raises(InputError, match="decode_small"):
        Fitted(good, bad, good, large_batch=95)
