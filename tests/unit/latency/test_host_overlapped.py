"""A host that works while the GPU does: a step takes as long as the slower of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmsim.latency.host import Host, slower
from llmsim.testing import LinearSteps


def test_the_slower_one_counts():
    gpu = LinearSteps(0.010, 0.001)

    assert Host(gpu, 0.002, overlapped=True).step_time_s([(0, 10)], 0, 0) == pytest.approx(0.020)
    assert Host(gpu, 0.030, overlapped=True).step_time_s([(0, 10)], 0, 0) == pytest.approx(0.030)
    assert Host(gpu, 0.030).step_time_s([(0, 10)], 0, 0) == pytest.approx(0.050)


@pytest.mark.parametrize(
    ("line", "host_s", "expected"),
    [
        ((2.0, 0.0, 9), 1.0, (2.0, 0.0, 9)),
        ((1.0, 0.0, 9), 2.0, (2.0, 0.0, 9)),
        ((2.0, 0.5, 9), 1.0, (2.0, 0.5, 9)),  # the GPU is slower, and gets slower yet
        ((1.0, 0.5, 9), 2.25, (2.25, 0.0, 3)),  # 1, 1.5, 2 and then 2.5
        ((1.0, 0.5, 2), 2.25, (2.25, 0.0, 2)),
        ((1.0, 0.5, 9), 2.0, (2.0, 0.0, 3)),
        ((3.0, -0.5, 9), 2.25, (3.0, -0.5, 2)),  # 3, 2.5 and then 2
        ((2.0, -0.5, 9), 2.25, (2.25, 0.0, 9)),
        ((2.0, -0.5, 9), 2.0, (2.0, -0.5, 1)),
        ((1.0, 1e-300, 9), 2.0, (2.0, 0.0, 9)),
    ],
)
def test_lines_end_where_the_other_one_is_slower(line, host_s, expected):
    assert slower(line, host_s) == expected


@pytest.mark.parametrize("growth_s", [0.0003, 0.0])
@pytest.mark.parametrize("host_s", [0.0, 0.0101, 0.02, 1.0])
def test_lines_agree_with_single_steps(growth_s, host_s):
    model = Host(LinearSteps(0.01, 0.0, 0.0, growth_s), host_s, overlapped=True)
    expected_s = [model.step_time_s((), 2, 10 + 2 * k) for k in range(60)]
    times_s: list[float] = []
    while len(times_s) < 60:
        first_s, grows_s, steps = model.decode_line(2, 10 + 2 * len(times_s))
        times_s += [first_s + k * grows_s for k in range(min(steps, 60))]

    np.testing.assert_allclose(times_s[:60], expected_s, rtol=1e-12)


@pytest.mark.parametrize("overlapped", [False, True])
def test_what_nothing_overlaps_comes_on_top(overlapped):
    """Of 3 sequences: 0.5 + 3 x 0.25 s beside the same host without it."""
    plain = Host(LinearSteps(4.0, 1.0), step_s=1.0, overlapped=overlapped)
    serial = replace(plain, serial_step_s=0.5, serial_sequence_s=0.25)
    assert serial.step_time_s([(0, 7)], 2, 20) == plain.step_time_s([(0, 7)], 2, 20) + 1.25
    first_s, growth_s, steps = plain.decode_line(3, 20)
    assert serial.decode_line(3, 20) == (first_s + 1.25, growth_s, steps)
