from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from llmsim import experiment
from llmsim.experiment import assemble
from llmsim.experiment.utilisation import utilisation_of
from llmsim.metrics.gpu_time import busy_gpu_s, spent_gpu_s
from llmsim.metrics.single_steps import SingleSteps
from llmsim.scenario import load_scenario
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import LinearSteps, serve_both_ways, workload


def test_steps_by_hand() -> None:
    # prompt of 20 in a step of 1 s, then three tokens in steps that grow by 0.1 s for each token of context
    latency = LinearSteps(step_s=1.0, prefill_token_s=0.0, context_token_s=0.1)
    for record in serve_both_ways(workload((0.5, 20, 4)), ChunkedPrefill(), latency=latency):
        (steps,) = SingleSteps.blocks(record, 0)

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


@pytest.mark.parametrize(
    "changes", [[], ["speculation={method='ngram', num_speculative_tokens=2, acceptance_length=1.5}"]]
)
def test_a_block_at_a_time_is_all_at_once(changes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are the same to the bit, and so is what each request has cost; sums are those of the same blocks."""
    scenario = load_scenario("quickstart", ["workload.requests=40", "cluster.instances=2", *changes])
    runs = [experiment.run(scenario, stepwise=stepwise) for stepwise in (False, True)]
    record, gpus = runs[0].record, (1, 1)
    (whole,), spent, busy = SingleSteps.blocks(record, 1), spent_gpu_s(record, gpus), busy_gpu_s(record, gpus)
    monkeypatch.setattr("llmsim.metrics.single_steps.BLOCK", 37)
    blocks = list(SingleSteps.blocks(record, 1))

    assert len(blocks) > 20
    for name in ("start_s", "end_s", "prefill_tokens", "decoding", "context_tokens"):
        together = np.concatenate([getattr(block, name) for block in blocks])
        assert np.array_equal(together, getattr(whole, name)), name
    assert np.array_equal(spent_gpu_s(record, gpus), spent)
    assert busy_gpu_s(record, gpus) == pytest.approx(busy, rel=1e-12)
    found = [utilisation_of(run.record, scenario, assemble(scenario).instances) for run in runs]
    assert found[0] is not None
    assert found[0].to_dict() == found[1].to_dict()
    assert busy_gpu_s(record, gpus) == busy_gpu_s(runs[1].record, gpus)
    assert np.array_equal(spent_gpu_s(runs[1].record, gpus), spent)


def test_a_long_output_takes_no_memory_for_its_steps() -> None:
    """A million tokens take ten megabytes, where an array of them takes eight."""
    changes = ["workload.requests=2", "workload.lengths={source='fixed', prompt_tokens=9, output_tokens=1_000_000}"]
    scenario = load_scenario(
        "quickstart", [*changes, "cluster.max_model_len=2_000_000", "cluster.num_gpu_blocks=999_999"]
    )
    experiment.run(load_scenario("quickstart", ["workload.requests=2"]))
    tracemalloc.start()
    try:
        experiment.run(scenario)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 10e6
