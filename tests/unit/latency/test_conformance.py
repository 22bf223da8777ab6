"""What every latency model keeps to."""

import math

import numpy as np
import pytest

from llmsim.latency.build import build_latency
from llmsim.latency.contract import LatencyModel
from llmsim.latency.fitted import Fitted
from llmsim.latency.hardware import load_gpu, load_model
from llmsim.latency.profile import list_profiles, load_profile
from llmsim.latency.roofline import Roofline
from llmsim.latency.sources.constant import Constant
from llmsim.latency.table import StepTable
from llmsim.testing import sources

OPT_13B = Fitted(
    prefill=(0.0181, 1.02e-4, 7.12e-9),
    decode_small=(0.0199, 6.27e-7, 3.85e-5),
    decode_large=(0.0072, 5.80e-7, 1.58e-4),
    large_batch=95,
)
MODELS: dict[str, LatencyModel] = {
    "roofline": Roofline(load_gpu("a100-sxm4-80gb"), load_model("llama-3.1-8b")),
    "roofline-tp4": Roofline(load_gpu("l40s"), load_model("llama-3.1-70b"), 4),
    "roofline-gpt-oss": Roofline(load_gpu("h200-sxm"), load_model("gpt-oss-120b")),
    "roofline-r1-tp8": Roofline(load_gpu("b200-sxm"), load_model("deepseek-r1"), 8),
    "roofline-opt": Roofline(load_gpu("h100-sxm-80gb"), load_model("opt-13b")),
    "fitted": OPT_13B,
    "constant": Constant(step_s=0.01, prefill_token_s=1e-4, decode_seq_s=1e-3),
    "constant-step": Constant(step_s=1.0),
} | {f"{gpu} {model} tp{size}": StepTable(load_profile(gpu, model, size)) for gpu, model, size in list_profiles()}

STEPS = [*sources.STEPS, (((131_071, 1),), 0, 0)]


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys())
def latency(request):
    return request.param


def test_steps_take_positive_finite_time(latency):
    for step in STEPS:
        time_s = latency.step_time_s(*step)
        assert type(time_s) is float
        assert 0 < time_s < math.inf


def test_the_same_step_always_takes_the_same_time(latency):
    assert [latency.step_time_s(*step) for step in STEPS] == [latency.step_time_s(*step) for step in STEPS]


def test_one_more_chunk_is_never_faster(latency):
    for prefill, decoding, context in STEPS:
        before = latency.step_time_s(prefill, decoding, context)
        for chunk in ((0, 1), (0, 64), (0, 2048), (3000, 17)):
            if not prefill and isinstance(latency, Fitted):
                continue  # DistServe's two decode fits do not meet at their threshold
            assert latency.step_time_s((*prefill, chunk), decoding, context) >= before


def test_more_context_is_never_faster(latency):
    for decoding in (1, 3, 64, 200, 1500):
        times_s = [latency.step_time_s((), decoding, decoding * context) for context in range(1, 3000)]
        assert (np.diff(times_s) >= -1e-15).all()


def test_a_longer_chunk_is_never_faster(latency):
    for computed in (0, 100, 5000):
        times_s = [latency.step_time_s(((computed, n),), 8, 8000) for n in range(1, 3000, 13)]
        assert (np.diff(times_s) >= -1e-15).all()


@pytest.mark.parametrize(("decoding", "context", "steps"), [(1, 1, 300), (7, 900, 1), (100, 50_000, 500), (3, 9, 40)])
def test_lines_are_single_steps(latency, decoding, context, steps):
    while steps > 0:
        first_s, growth_s, on_line = latency.decode_line(decoding, context)

        assert first_s == latency.step_time_s((), decoding, context)
        assert on_line >= 1
        assert (type(first_s), type(growth_s), type(on_line)) == (float, float, int)
        for k in range(min(on_line, steps)):
            expected_s = latency.step_time_s((), decoding, context + k * decoding)
            assert first_s + k * growth_s == pytest.approx(expected_s, rel=1e-12)
        steps -= on_line
        context += on_line * decoding


def test_build_by_name():
    gpu, model = load_gpu("h100-sxm-80gb"), load_model("llama-3.1-8b")

    assert isinstance(build_latency("table", gpu, model), StepTable)
    assert isinstance(build_latency("roofline", gpu, model, 2), Roofline)
