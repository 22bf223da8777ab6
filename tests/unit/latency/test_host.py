from __future__ import annotations

import math

import pytest

from llmsim.errors import InputError
from llmsim.latency.fitted import Fitted
from llmsim.latency.host import Host
from llmsim.latency.sources.constant import Constant

GPU = Fitted((0.02, 1e-4, 1e-8), (0.01, 1e-6, 1e-4), (0.02, 2e-6, 2e-4), 16)


def test_host_adds_a_part_per_step_and_one_per_sequence() -> None:
    host = Host(GPU, step_s=0.003, sequence_s=0.0005)
    chunks = [(0, 100), (200, 50)]

    assert host.step_time_s((), 8, 900) == GPU.step_time_s((), 8, 900) + (0.003 + 8 * 0.0005)
    assert host.step_time_s(chunks, 8, 900) == GPU.step_time_s(chunks, 8, 900) + (0.003 + 10 * 0.0005)


def test_host_times_in_a_row_are_those_of_single_steps() -> None:
    host = Host(GPU, step_s=0.0031, sequence_s=0.00017)
    first_s, growth_s, steps = host.decode_line(7, 1234)

    assert first_s == host.step_time_s((), 7, 1234)
    assert steps >= 50
    assert first_s + 49 * growth_s == pytest.approx(host.step_time_s((), 7, 1234 + 7 * 49), rel=1e-12)


@pytest.mark.parametrize("value", [-1e-6, math.nan, math.inf])
def test_host_time_must_be_seconds(value: float) -> None:
    with pytest.raises(InputError, match="host sequence_s = "):
        Host(Constant(0.01), sequence_s=value)


def test_a_step_of_more_tokens_than_the_largest_graph_takes_longer() -> None:
    host = Host(GPU, step_s=0.003, eager_step_s=0.002, max_cudagraph_capture_size=100)
    graph, eager = host.step_time_s([(0, 92)], 8, 900), host.step_time_s([(0, 93)], 8, 900)

    assert graph == GPU.step_time_s([(0, 92)], 8, 900) + 0.003
    assert eager == GPU.step_time_s([(0, 93)], 8, 900) + (0.003 + 0.002)
    assert host.decode_line(101, 9000)[0] == GPU.step_time_s((), 101, 9000) + (0.003 + 0.002)
