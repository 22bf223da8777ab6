"""[autoscaling] in scenarios: from the file to the score, the table, the picture and back."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from llmsim import experiment
from llmsim.cli import main
from llmsim.errors import InputError
from llmsim.scenario import load_scenario
from llmsim.studies.plan.plan_question import read_plan

TEXT = """\
[workload]
requests = 60
arrivals = { process = "constant", rate_per_s = 2.0 }
lengths = { source = "fixed", prompt_tokens = 200, output_tokens = 300 }

[cluster]
gpu = "a100-sxm4-80gb"
tensor_parallel_size = 2
latency = "roofline"

[autoscaling]
metric = "outstanding"
target = 1.0
max_instances = 4
interval_s = 5.0
cold_start_s = 7.5
scale_down_stabilization_window_s = 60.0
"""


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "scaled.toml"
    file.write_text(TEXT)
    return file


def test_time_and_cost_add_up(file):
    result = experiment.run(load_scenario(file))
    scaling, end_s = result.score["autoscaling"], result.score["simulated_s"]

    # 0.5 s apart, each over a second long: 2 or 3 at once. More than one is wanted at the first look, at 5 s
    assert scaling["peak_instances"] == 1 + scaling["started"] > 1
    assert scaling["told_to_go"] == 0
    assert scaling["starting_s"] == 7.5 * scaling["started"]
    assert scaling["instance_s"] == pytest.approx(end_s + scaling["started"] * (end_s - 5.0))
    assert scaling["ready_s"] + scaling["starting_s"] == pytest.approx(scaling["instance_s"])
    assert scaling["usd_per_instance_hour"] == 2 * 2.0  # two A100 at their profile's 2 USD an hour
    assert scaling["usd"] == pytest.approx(4.0 * scaling["instance_s"] / 3600)
    assert scaling["usd_with_max_instances"] == pytest.approx(4.0 * 4 * end_s / 3600)
    assert scaling["usd_per_million_output_tokens"] == pytest.approx(scaling["usd"] / 18_000 * 1e6)
    assert len(result.num_gpu_blocks) == 4
    assert result.score["imbalance"] is None


def test_busy_is_the_share_of_the_time_in_which_instances_could_serve(file):
    """One that is off, or starts, is not idle: with the same work, a cluster of one is as busy with three off."""
    alone = experiment.run(load_scenario(file, ["autoscaling=null"])).score
    kept = experiment.run(load_scenario(file, ["autoscaling.target=100"])).score

    assert kept["autoscaling"]["peak_instances"] == 1
    assert kept["verdict"] == alone["verdict"]
    assert kept["ttft_s"] == alone["ttft_s"]


def test_a_price_may_be_given(file):
    listed, given = (
        experiment.run(load_scenario(file, changes)).score["autoscaling"]
        for changes in ([], ["autoscaling.price_usd_per_hour=3.0"])
    )

    assert given["usd"] == pytest.approx(1.5 * listed["usd"])


def test_single_steps_score_the_same(file):
    scores = [experiment.run(load_scenario(file), stepwise=stepwise).score.to_dict() for stepwise in (False, True)]
    for score in scores:
        del score["wall_s"]

    assert scores[0] == scores[1]


@pytest.mark.draws
def test_a_result_is_printed_drawn_kept_and_read_back(file, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["run", str(file), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    table = pq.read_table(out / "instances.parquet").to_pandas()
    record = experiment.run(load_scenario(file)).record
    again = experiment.read_record(out)

    assert "1 to 4 instances by outstanding" in printed
    assert "per million output tokens" in printed
    assert (out / "instances.png").stat().st_size > 10_000
    assert set(table["state"]) == {"starting", "ready"}
    score = json.loads((out / "score.json").read_text())["autoscaling"]
    assert (table["end_s"] - table["start_s"]).sum() == pytest.approx(score["instance_s"])
    for name, column in record.instance_states.items():
        assert np.array_equal(again.instance_states[name], column)
    assert main(["run", str(file), "--out", str(out), "--set", "autoscaling=null", "--force"]) == 0
    assert not {"instances.parquet", "instances.png"} & {file.name for file in out.iterdir()}


def test_a_page_has_the_picture(file, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["run", str(file), "--out", str(out)]) == 0
    assert main(["report", str(out)]) == 0
    page = next(tmp_path.rglob("*.html")).read_text()

    assert "the instances that it called up" in page
    assert "Not in the folder" not in page


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            ["autoscaling.metric=outstandin"],
            "autoscaling.metric: unknown value 'outstandin'; did you mean 'outstanding'",
        ),
        (["autoscaling.cold_start=1.0"], "autoscaling.cold_start: unknown key; did you mean 'cold_start_s'"),
        (["autoscaling.target=0.0"], "autoscaling.target: "),
        (["autoscaling.metric=kv_utilisation", "autoscaling.target=2.0"], "target = 2 is a share of the KV blocks"),
        (["autoscaling.min_instances=5"], "min_instances = 5 is above max_instances = 4"),
        (["autoscaling.min_instances=2"], "cluster.instances = 1, those that are ready at the start: expected from"),
        (["cluster.instances=9"], "cluster.instances = 9, those that are ready at the start: expected from"),
        (['pool=[{name="a"},{name="b"}]'], "autoscaling is for instances that are all alike; expected [cluster]"),
    ],
)
def test_bad_input_is_one_line(file, changes, said):
    with pytest.raises(InputError) as error:
        load_scenario(file, changes)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_largest_load_is_that_of_instances_that_stay(file):
    changes = ["workload.arrivals.process=poisson", "plan.find=load"]
    with pytest.raises(InputError, match=r"scaled.toml, line 11: autoscaling: the largest load is that of instances"):
        read_plan(str(file), changes)
