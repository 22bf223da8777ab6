"""A run says where its steps lie beyond what was measured, and is silent where they do not."""

from __future__ import annotations

from llmsim.experiment import run
from llmsim.latency.contract import Measured
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


def test_batches_beyond_what_was_measured_with_as_many_sequences_are_said(tmp_path):
    """Measured to 2,048 tokens with 128 sequences and to 512 with 256: 200 of 1,000 lie beyond, 100 do not."""

    def said(requests):
        file = tmp_path / f"{requests}.csv"
        file.write_text("arrival_s,prompt_tokens,output_tokens\n" + "0,1000,300\n" * requests)
        given = [f"workload.trace={file}", "cluster.num_gpu_blocks=50000", "scheduler.max_num_batched_tokens=200000"]
        return run(load_scenario("quickstart", given)).score["choices.step_times"]

    assert "200 sequences with contexts of 1,299 tokens (measured to 512 with 256), 100 %" in said(200)
    assert "sequences with contexts" not in said(100)


def test_ranks_and_stages_have_as_much_measured_as_all_of_them_together():
    one = Measured(256, 4096, 16384, 8192, batches=((1, 4096), (256, 512)))

    assert one.times(4) == Measured(1024, 4096, 16384, 32768, batches=((4, 4096), (1024, 512)))
