"""Attention beyond what was measured; numbers worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from llmsim.errors import InputError
from llmsim.latency.attention_times import attention_grid, decode_times
from llmsim.latency.hardware import load_model
from llmsim.latency.table import prompts_curve

NAN = np.nan
#: microseconds; the last intervals of 1, 2 and 4 sequences take 0.1, 0.2 and 0.3 us for each KV token
TABLE = pd.DataFrame(
    {1: [10.0, 11.0, 21.0], 2: [10.0, 30.0, 70.0], 4: [20.0, 80.0, NAN], 8: [30.0, NAN, NAN]}, index=[50, 100, 200]
)


def test_rows_go_on_by_the_median_of_what_a_kv_token_takes():
    """Rows of at least half of the 400 KV tokens: 21 - 11 over 100, 70 - 30 over 200, 80 - 20 over 200; median 0.2."""
    at_300 = attention_grid(TABLE, [300])[:, 0]

    assert at_300 == pytest.approx([21 + 0.2 * 100, 70 + 0.2 * 200, 80 + 0.2 * 800, 30 + 0.2 * 2000])


def test_within_what_was_measured_nothing_changes():
    np.testing.assert_allclose(attention_grid(TABLE, [75, 100])[:3], [[10.5, 11], [20, 30], [50, 80]])


def test_a_window_does_not_grow():
    assert attention_grid(TABLE, [1000], grows=False)[:, 0] == pytest.approx([21, 70, 80, 80])  # at least as the fewer


def test_one_context_alone_does_not_tell_how_attention_grows():
    measured = SimpleNamespace(root="tables", kernels="fa3", decode_attention_s=lambda heads: TABLE[:1])

    with pytest.raises(InputError, match=r"tables: decode attention was measured at one context .*, expected two"):
        decode_times(measured, load_model("llama-3.1-8b"), 1)


@pytest.mark.parametrize(
    ("tokens", "work_s", "at", "expected_s"),
    [
        ((1, 512, 1024), (0.0, 1.0, 4.0), 4096, 64.0),  # all of it squared
        ((1, 512, 1024), (0.0, 1.0, 2.0), 4096, 8.0),  # none of it
        (
            (1, 512, 1024),
            (0.0, 1.0, 3.0),
            2048,
            1 * 2 + 2 * 4.0,
        ),  # half of it takes 1 / 2 + 2 / 4
        ((1, 512, 1024), (0.0, 1.5, 2.0), 2048, 3.0),  # slower first: the last slope
    ],
)
def test_long_prompts_grow_as_the_square(tokens, work_s, at, expected_s):
    curve = prompts_curve(tokens, work_s)

    assert curve.at(1024) == pytest.approx(work_s[-1])
    assert curve.at(at) == pytest.approx(expected_s, rel=0.01)  # straight lines between knots lie above a square
