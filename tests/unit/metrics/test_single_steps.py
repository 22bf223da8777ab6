from __future__ import annotations

import numpy as np
import pytest

from llmsim import experiment
from llmsim.metrics.single_steps import SingleSteps
from llmsim.scenario import load_scenario
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import LinearSteps, serve_both_ways, workload


def test_steps_by_hand() -> None:
    # prompt of 20 in a step of 1 s, then three tokens in steps that grow by 0.1 s for each token of context
    latency = LinearSteps(step_s=1.0, prefill_token_s=0.0, context_token_s=0.1)
    for record in serve_both_ways(workload((0.5, 20, 4)), ChunkedPrefill(), latency=latency):
        steps = SingleSteps.of(record, 0)

        assert steps.start_s.tolist() == pytest.approx([0.5, 1.5, 4.6, 7.8])
        assert steps.lasts_s().tolist() == pytest.approx([1.0, 3.1, 3.2, 3.3])
        assert steps.lasts_s(1.0, 5.0).tolist() == pytest.approx([0.5, 3.1, 0.4, 0.0])
        assert steps.context_tokens.tolist() == [0, 21, 22, 23]
        assert steps.prefill_tokens.tolist() == [20, 0, 0, 0]


@pytest.mark.parametrize("name", ["heterogeneous", "disaggregated"])
def test_scores_of_steps_do_not_depend_on_how_they_were_grouped(name: str) -> None:
    scenario = load_scenario(name, ["workload.requests=60"])
    scores = [experiment.run(scenario, stepwise=stepwise).score.to_dict() for stepwise in (False, True)]

    for score in scores:
        del score["wall_s"]
    assert scores[0] == scores[1]
    assert name == "heterogeneous" or scores[0]["energy"]["kwh"] > 0
    assert np.isfinite(scores[0]["wasted"]["busy_gpu_s"])
