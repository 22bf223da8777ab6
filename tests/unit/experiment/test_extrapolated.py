"""A run says where its steps lie beyond what was measured, and is silent where they do not."""

from __future__ import annotations

from llmsim.experiment import run
from llmsim.scenario import load_scenario

TRACE = "arrival_s,prompt_tokens,output_tokens\n0,{prompt},100\n1,100,100\n"


def step_times(file, prompt, *changes):
    file.write_text(TRACE.format(prompt=prompt))
    given = [f"workload.trace={file}", "cluster.max_model_len=1000000", "cluster.num_gpu_blocks=50000", *changes]
    return run(load_scenario("quickstart", given)).score["choices.step_times"]


def test_prompts_and_contexts_beyond_the_tables_are_said(tmp_path):
    said = step_times(tmp_path / "long.csv", 300_000)

    assert "extrapolated for prompts of 300,000 tokens (measured to 16,384)" in said
    assert "(to 32,768)" in said  # the mean context of the two that decode: more than half of the longer one
    assert "sequences" not in said


def test_steps_within_the_tables_and_formulas_say_nothing(tmp_path):
    assert "extrapolated" not in step_times(tmp_path / "short.csv", 2_000)
    assert "extrapolated" not in step_times(tmp_path / "long.csv", 300_000, "cluster.latency=roofline")
