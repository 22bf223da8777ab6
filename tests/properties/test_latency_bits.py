"""Lines are the steps on them, for any batch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.latency.fitted import Fitted
from llmsim.latency.hardware import load_gpu, load_model
from llmsim.latency.profile import load_profile
from llmsim.latency.roofline import Roofline
from llmsim.latency.table import StepTable

MODELS = {
    "table": StepTable(load_profile("h100-sxm-80gb", "llama-3.1-8b")),
    "roofline": Roofline(load_gpu("l40s"), load_model("qwen2-7b")),
    "fitted": Fitted((0.02, 1e-4, 7e-9), (0.02, 6e-7, 4e-5), (0.007, 6e-7, 1.6e-4), large_batch=95),
}
chunks = st.tuples(st.integers(0, 200_000), st.integers(1, 20_000))


@pytest.mark.parametrize("latency", MODELS.values(), ids=MODELS.keys())
@settings(max_examples=60, deadline=None)
@given(decoding=st.integers(1, 2000), mean=st.integers(1, 140_000), steps=st.integers(1, 400))
def test_a_line_is_its_steps(latency, decoding, mean, steps):
    context = decoding * mean + decoding // 2
    first_s, growth_s, on_line = latency.decode_line(decoding, context)
    times_s = [latency.step_time_s((), decoding, context + k * decoding) for k in range(min(steps, on_line))]

    assert times_s[0] == first_s
    np.testing.assert_allclose(first_s + growth_s * np.arange(len(times_s)), times_s, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(prefill=st.lists(chunks, min_size=1, max_size=5), more=chunks, decoding=st.integers(0, 300))
def test_table_never_gets_faster_with_more_chunks(prefill, more, decoding):
    table, context = MODELS["table"], 1000 * decoding

    before = table.step_time_s(prefill, decoding, context)
    assert table.step_time_s([*prefill, more], decoding, context) >= before * (1 - 1e-12)


@settings(max_examples=100, deadline=None)
@given(decoding=st.integers(1, 300), mean=st.integers(1, 9000))
def test_a_line_of_the_table_ends_at_the_next_knot(decoding, mean):
    table, context = MODELS["table"], decoding * mean
    knots = [decoding * of_each for of_each in table.profile.decode_attention.context_tokens]
    _, _, steps = table.decode_line(decoding, context)

    ahead = [knot for knot in knots if knot > context]
    if ahead:
        assert context + (steps - 1) * decoding < ahead[0] <= context + steps * decoding
    else:
        assert steps > 10**6
