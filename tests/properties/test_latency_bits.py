"""Stretches and single steps agree to the bit, for any batch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.hardware import load_gpu, load_model
from llmsim.latency.contract import LatencyModel
from llmsim.latency.curve import Curve
from llmsim.latency.fitted import Fitted
from llmsim.latency.profile import load_profile
from llmsim.latency.roofline import Roofline
from llmsim.latency.table import Table

MODELS = {
    "table": Table(load_profile("h100-sxm-80gb", "llama-3.1-8b")),
    "roofline": Roofline(load_gpu("l40s"), load_model("qwen2-7b")),
    "fitted": Fitted((0.02, 1e-4, 7e-9), (0.02, 6e-7, 4e-5), (0.007, 6e-7, 1.6e-4), large_batch=95),
}
chunks = st.tuples(st.integers(0, 200_000), st.integers(1, 20_000))


@pytest.mark.parametrize("latency", MODELS.values(), ids=MODELS.keys())
@settings(max_examples=60, deadline=None)
@given(decoding=st.integers(1, 2000), mean=st.integers(1, 140_000), steps=st.integers(1, 400))
def test_a_stretch_is_its_steps(latency, decoding, mean, steps):
    context = decoding * mean + decoding // 2
    expected = LatencyModel.decode_times_s(latency, decoding, context, steps)

    assert latency.decode_times_s(decoding, context, steps) == expected


@settings(max_examples=60, deadline=None)
@given(prefill=st.lists(chunks, min_size=1, max_size=5), more=chunks, decoding=st.integers(0, 300))
def test_table_never_gets_faster_with_more_chunks(prefill, more, decoding):
    table, context = MODELS["table"], 1000 * decoding

    before = table.step_time_s(prefill, decoding, context)
    assert table.step_time_s([*prefill, more], decoding, context) >= before * (1 - 1e-12)


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(1, 50), st.floats(0, 10)), min_size=2, max_size=8),
    start=st.integers(0, 100),
    stride=st.integers(1, 40),
    count=st.integers(0, 60),
)
def test_curve_gives_the_same_bits_along_a_stretch(steps, start, stride, count):
    x = np.cumsum([dx for dx, _ in steps]).tolist()
    curve = Curve.through(x, np.cumsum([dy for _, dy in steps]).tolist())

    expected = [curve(start + stride * k) for k in range(count)]
    assert curve.along(start, stride, count) == expected
