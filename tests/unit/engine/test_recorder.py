from __future__ import annotations

from unittest.mock import patch

import numpy as np

from llmsim.metrics.gaps import Gaps
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.step_ends import StepEnds
from llmsim.testing import LinearSteps, serve
from llmsim.testing.builders import drawn


def test_ends_that_stay_formulas_are_those_that_are_spelled_out() -> None:
    requests, steps = drawn(np.random.default_rng(1), 40, 3.0), LinearSteps(context_token_s=1e-6)
    with patch("llmsim.engine.recorder.LONG", 0):
        formulas = serve(requests, ChunkedPrefill(), latency=steps).step_ends_s[0]
    with patch("llmsim.engine.recorder.LONG", 10**9):
        spelled_out = serve(requests, ChunkedPrefill(), latency=steps).step_ends_s[0]

    assert isinstance(formulas, StepEnds)
    assert isinstance(spelled_out, np.ndarray)
    assert len(formulas) > 2 * len(formulas.begin)
    assert np.array_equal(formulas, spelled_out)


def test_gaps_are_the_same_where_changes_are_few_and_where_they_are_many() -> None:
    timelines = serve(drawn(np.random.default_rng(2), 60, 3.0), ChunkedPrefill()).timelines()
    found = []
    for few in (0, 10**9):
        with patch("llmsim.metrics.gaps.FEW", few), patch("llmsim.metrics.gaps.BLOCK", 50):
            found.append(list(Gaps(timelines)))

    for one, other in zip(*found, strict=True):
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])
