"""Steps on a line: the closed form against sums and searches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.engine.stretch import Stretch
from llmsim.step_ends import step_ends_s


@st.composite
def stretches(draw):
    """A stretch anywhere on a line, whose steps all take some time."""
    taken, steps = draw(st.integers(0, 2000)), draw(st.integers(1, 3000))
    first_s = draw(st.sampled_from([1e-3, 0.0101]) | st.floats(1e-3, 10.0))
    most_s = 0.9 * first_s / (taken + steps)  # what steps may get shorter by
    growth_s = draw(st.floats(-most_s, 1e-2))
    return Stretch().begin(
        draw(st.sampled_from([0.0, 0.3, 1e3, 1e6, 1.7e9]) | st.floats(0, 1e6)),
        first_s,
        growth_s,
        taken + steps,
        taken,
        steps,
        8,
        8000,
        (),
    )


@settings(max_examples=300, deadline=None)
@given(stretch=stretches())
def test_steps_add_up(stretch):
    k = np.arange(stretch.offset + stretch.steps)
    ends_s = stretch.anchor_s + np.cumsum(stretch.first_s + k * stretch.growth_s)

    assert stretch.end_s == stretch.step_end_s(stretch.steps) == pytest.approx(ends_s[-1], rel=1e-12)
    line = (np.full(stretch.steps, of) for of in (stretch.anchor_s, stretch.first_s, stretch.growth_s))
    vectorised_s = step_ends_s(*line, stretch.offset + np.arange(1, stretch.steps + 1))
    assert vectorised_s.tolist() == [stretch.step_end_s(step) for step in range(1, stretch.steps + 1)]
    np.testing.assert_allclose(vectorised_s, ends_s[stretch.offset :], rtol=1e-12)


@settings(max_examples=300, deadline=None)
@given(stretch=stretches(), data=st.data())
def test_how_many_have_ended(stretch, data):
    ends_s = [stretch.step_end_s(step) for step in range(1, stretch.steps + 1)]
    near = data.draw(st.sampled_from([stretch.step_end_s(0), *ends_s]))
    times = [near, np.nextafter(near, 0), np.nextafter(near, np.inf), data.draw(st.floats(0, 2 * ends_s[-1]))]
    for time_s in map(float, times):
        assert stretch.ended_before(time_s) == np.searchsorted(ends_s, time_s, side="left")
        assert stretch.ended_by(time_s) == np.searchsorted(ends_s, time_s, side="right")


@settings(max_examples=100, deadline=None)
@given(stretch=stretches(), data=st.data())
def test_a_cut_stretch_goes_on_with_the_same_bits(stretch, data):
    ends_s = [stretch.step_end_s(step) for step in range(1, stretch.steps + 1)]
    cut = data.draw(st.integers(1, stretch.steps))
    context = stretch.context_tokens + cut * stretch.decoding
    stretch.cut(cut)

    assert stretch.end_s == ends_s[cut - 1]
    on_line = cut < len(ends_s)
    assert stretch.goes_on(stretch.end_s, stretch.decoding, context) is on_line
    assert not stretch.goes_on(stretch.end_s, stretch.decoding, context + 1)
    assert not stretch.goes_on(float(np.nextafter(stretch.end_s, np.inf)), stretch.decoding, context)
    line = stretch.anchor_s, stretch.first_s, stretch.growth_s, stretch.line_steps
    if on_line:
        rest = Stretch().begin(*line, stretch.offset + cut, len(ends_s) - cut, stretch.decoding, context, ())
        assert [rest.step_end_s(step) for step in range(1, rest.steps + 1)] == ends_s[cut:]
