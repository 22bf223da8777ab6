from __future__ import annotations

from unittest.mock import patch

import numpy as np

from llmsim.metrics import ranges
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import LinearSteps, serve
from llmsim.testing.builders import drawn


def test_long_stretches_one_by_one_end_as_many_at_once() -> None:
    requests, steps = drawn(np.random.default_rng(1), 40, 3.0), LinearSteps(context_token_s=1e-6)
    with patch("llmsim.engine.recorder.LONG", 0):
        one_by_one = serve(requests, ChunkedPrefill(), latency=steps)
    with patch("llmsim.engine.recorder.LONG", 10**9):
        at_once = serve(requests, ChunkedPrefill(), latency=steps)

    assert np.array_equal(one_by_one.step_ends_s[0], at_once.step_ends_s[0])
    assert len(at_once.step_ends_s[0]) > 2 * len(at_once.steps["steps"])


def test_gaps_are_the_same_where_changes_are_few_and_where_they_are_many() -> None:
    timelines = serve(drawn(np.random.default_rng(2), 60, 3.0), ChunkedPrefill()).timelines()
    found = []
    for few in (0, 10**9):
        with patch("llmsim.metrics.ranges.FEW", few), patch("llmsim.metrics.ranges.BLOCK", 50):
            found.append(list(ranges.Gaps(timelines)))

    for one, other in zip(*found, strict=True):
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])
