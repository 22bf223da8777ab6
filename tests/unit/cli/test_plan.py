"""`llmsim plan` from the command line: what it prints, writes and refuses."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from llmsim.cli import main
from llmsim.experiment import run
from llmsim.metrics.fluidity import fluidity_index
from llmsim.metrics.goodput import aegaeon_attainment
from llmsim.metrics.qoe import qoe
from llmsim.metrics.slo import meets
from llmsim.metrics.stage_slo import meets_stages
from llmsim.scenario import load_scenario
from llmsim.slo import Slo
from llmsim.studies.plan.measured_runs import measure
from llmsim.studies.plan.plan_question import read_plan
from llmsim.studies.plan.targets import parse_target

SCENARIO = """\
name = "a small plan"
[workload]
requests = 1500
arrivals = { process = "poisson", rate_per_s = 30.0 }
lengths = { source = "fixed", prompt_tokens = 400, output_tokens = 10 }
[cluster]
latency = "roofline"
[slo]
ttft_s = 0.3
[plan]
least_seeds = 2
most_requests = 12000
model_error = false
schedulers = [{ name = "chunked_prefill", max_num_seqs = 4 }]
price_usd_per_hour = { a100-sxm4-80gb = 2.0 }
"""


SPLIT = """\
[workload]
requests = 500
arrivals = { process = "poisson", rate_per_s = 4.0 }
lengths = { source = "fixed", prompt_tokens = 2000, output_tokens = 20 }
[cluster]
latency = "roofline"
[[pool]]
name = "prefill"
role = "prefill"
[[pool]]
name = "decode"
role = "decode"
[kv_transfer]
bandwidth_gb_per_s = 25.0
[plan]
find = "load"
targets = ["slo.attainment >= 0.9"]
splits = ["1P2D", "3 mixed"]
resolution = 0.5
least_seeds = 2
most_requests = 1000
model_error = false
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.toml"
    path.write_text(SCENARIO)
    return str(path)


def planned(capsys, *arguments):
    assert main(["plan", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.draws
def test_a_plan_is_printed_and_kept(file, tmp_path, capsys):
    assert main(["plan", file]) == 0
    printed = capsys.readouterr().out
    folder = tmp_path / "results" / "a_small_plan-plan"
    kept = json.loads((folder / "plan.json").read_text())
    evaluations = pd.read_parquet(folder / "evaluations.parquet")
    runs = pd.read_parquet(folder / "runs.parquet")
    (candidate,) = kept["candidates"]

    assert sorted(path.name for path in folder.iterdir()) == [
        "evaluations.parquet", "other_bounds.json", "pareto.png", "plan.json", "runs.parquet", "seal.json",
    ]  # fmt: skip
    assert printed.count(kept["answer"]) == 1
    assert candidate["settled"]
    assert candidate["neighbour"]["instances"] == candidate["carries"]["instances"] - 1
    assert candidate["carries"]["usd_per_hour"] == 2.0 * candidate["carries"]["instances"]
    assert candidate["binds"]["name"] in ("seats", "prefill", "decode")
    assert candidate["binds"]["instances"] == candidate["neighbour"]["instances"]
    assert re.search(
        rf"^{candidate['binds']['instances']} at 30/s (is|are) bound by max_num_seqs \(", printed, re.MULTILINE
    )
    assert set(evaluations["instances"]) >= {candidate["carries"]["instances"], candidate["neighbour"]["instances"]}
    assert len(runs) == evaluations["seeds"].sum()
    assert runs.loc[runs["verdict"] != "steady", "slo.attainment"].isna().all()


def test_an_answer_says_how_sure_it_is_of_the_step_times_too(file, capsys):
    found = planned(capsys, file, "--set", "plan.model_error=true", "--set", "workload.arrivals.rate_per_s=12")
    said = found["with_model_error"]

    assert said["step_times"] == "roofline step times of the GPU alone, small batches"
    assert said["probability"] <= said["holds_up_to_quantile"] <= 0.99
    assert said["step_time_factor"] > 1.0


def test_the_same_plan_from_any_executor(file, capsys):
    assert planned(capsys, file) == planned(capsys, file, "--jobs", "2")


def test_a_table_of_large_rates_is_not_cut(file, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    few = ("--set", "plan.most_requests=100", "--set", "plan.most_instances=1")
    assert main(["plan", file, "--set", "workload.arrivals.rate_per_s=3333.3333", *few]) == 0
    printed = capsys.readouterr().out

    assert "…" not in printed
    assert printed.count("refused: ") == 1


def test_too_few_requests_are_refused_not_answered(file, capsys):
    found = planned(capsys, file, "--set", "plan.most_requests=100", "--set", "plan.most_instances=4")

    assert found["best"] is None
    assert found["answer"].startswith("refused: ")
    assert "raise plan.most_requests" in found["answer"]


def test_the_largest_load_lies_within_the_resolution_of_one_that_is_not_carried(file, capsys):
    found = planned(capsys, file, "--set", "plan.find=load", "--set", "plan.resolution=0.3")
    (candidate,) = found["candidates"]
    carries, neighbour = candidate["carries"], candidate["neighbour"]

    assert carries["instances"] == neighbour["instances"] == 1
    assert 1 < neighbour["rate_per_s"] / carries["rate_per_s"] <= 1.3
    assert carries["probability"] >= 0.95


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("plan.confidance=0.9", "command line: plan.confidance: unknown key; did you mean 'confidence'?"),
        ("plan.confidence=2", "command line: plan.confidence: 2: expected less than 1"),
        ("plan.find=cost", "command line: plan.find: unknown value 'cost'; known: instances, load"),
        ('plan.targets=["ttft.p99 <= 1"]', "command line: plan.targets: unknown metric ttft.p99; did you mean"),
        ("plan.targets=5", "command line: plan.targets: 5: expected a list"),
        ('plan.targets=["slo.attainment >= 99"]', "command line: plan.targets: 'slo.attainment >= 99': an attainment"),
        ("sweep.seeds=3", "command line: sweep.seeds: [sweep] is no part of the experiment"),
        ('plan.targets=["slo.attainment >= 1"]', "no number of drawn requests shows that none ever misses"),
        ('plan.targets=["slo.attainment >= 0.99999"]', "takes 299,574 requests none of which misses"),
        ('plan.splits=["4 mixed", "2"]', "'4 mixed' and '2' ask the same where the fewest instances"),
        ("plan.targets=[]", "command line: plan.targets: an empty list"),
        ('plan.gpus=["x100"]', "command line: plan.gpus: no gpu profile named 'x100'"),
        ('plan.schedulers=["fcfs"]', "plan.schedulers.0: 'fcfs': expected a table such as {name = \"fcfs\"}"),
        ('plan.schedulers=[{name="fcf"}]', "did you mean 'fcfs'?"),
        ('plan.schedulers=[{name="fcfs", max_num_seq=3}]', "unknown key; did you mean 'max_num_seqs'?"),
        ("plan.price_usd_per_hour={h100=2.0}", "command line: plan.price_usd_per_hour: no candidate has h100"),
        ("plan.most_seeds=1", "plan.most_seeds: 1: expected"),
        ("plan.least_seeds=20", "most_seeds (16) is below least_seeds (20)"),
    ],
)
def test_a_plan_that_cannot_be_is_one_line(file, refused, change, said):
    assert said in refused("plan", file, "--set", change)


def test_a_dask_scheduler_that_does_not_answer_is_told(file, refused):
    pytest.importorskip("distributed", reason="dask.distributed is not installed (extra dask)")
    assert "no Dask scheduler answers" in refused("plan", file, "--dask", "127.0.0.1")


def test_what_has_no_plan_is_told(file, tmp_path, refused):
    assert "no table [plan]" in refused("plan", "quickstart")
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,10,10\n0,10,10\n")
    assert "all requests arrive at once" in refused("plan", file, "--set", f"workload.trace={trace}")
    assert "expected diurnal arrivals" in refused("plan", file, "--set", "plan.phases=4")
    assert "did you mean 'vidur'" in refused("plan", file, "--as", "vidor")
    assert "targets of its own; leave plan.find out" in refused(
        "plan", file, "--as", "vidur", "--set", "plan.find=instances"
    )
    assert "give slo.ttft_s and slo.tpot_s" in refused("plan", file, "--as", "slos-serve")
    assert "plan.trace_rates is of a trace" in refused("plan", file, "--set", "plan.trace_rates=superposed")
    assert "exclude each other" in refused("plan", file, "--jobs", "2", "--dask", "tcp://127.0.0.1:9")
    assert "give slo.tbt_s" in refused("plan", file, "--as", "sarathi", "--set", "slo.tbt_s=null")
    assert "needs one [[pool]] with role = 'prefill'" in refused("plan", file, "--set", 'plan.splits=["1P1D"]')
    assert "such as 1P3D" in refused("plan", file, "--set", 'plan.splits=["1D1P"]')
    varied = 'plan.vary={"workload.requests"=[1, 2]}'
    assert "candidates serve the same load" in refused("plan", file, "--set", varied)


def test_users_of_a_closed_loop_are_counted(file, capsys):
    closed = ("--set", "workload.arrivals={process='closed', concurrency=6}", "--set", "slo.ttft_s=0.06")
    found = planned(capsys, file, *closed, "--set", "plan.find=load")
    (candidate,) = found["candidates"]

    assert " users with P(" in found["answer"]
    assert candidate["neighbour"]["users"] == candidate["carries"]["users"] + 1
    assert candidate["carries"]["probability"] >= 0.95


def test_a_trace_is_planned_for_as_it_is_given(file, tmp_path, capsys):
    """Two requests a second that take 0.17 s each on one seat: at twice, four, … the speed one of two must wait."""
    trace = tmp_path / "trace.csv"
    rows = "".join(f"{i / 2},400,10\n" for i in range(40))
    trace.write_text(f"arrival_s,prompt_tokens,output_tokens\n{rows}")
    seat = "plan.schedulers=[{name='chunked_prefill', max_num_seqs=1}]"
    one = ("--set", seat, "--set", "slo.ttft_s=0.1")
    found = planned(capsys, file, "--set", f"workload.trace={trace}", "--set", "plan.find=load", *one)
    (candidate,) = found["candidates"]

    assert found["load"].startswith("40 requests over 20 s; other rates: its times are pressed or stretched")
    assert "of the 40 requests given" in found["answer"]
    assert candidate["settled"]
    assert 3 < candidate["carries"]["rate_per_s"] < 20


def test_a_trace_may_be_laid_beside_itself_in_place_of_being_pressed(file, tmp_path, capsys):
    """A pair of requests every two seconds: pressed, only pairs that meet wait; beside other pairs, some do at once."""
    trace = tmp_path / "trace.csv"
    rows = "".join(f"{i},400,10\n{i + 0.3},400,10\n" for i in range(0, 120, 2))
    trace.write_text(f"arrival_s,prompt_tokens,output_tokens\n{rows}")
    common = ("--set", f"workload.trace={trace}", "--set", "plan.find=load", "--set", "slo.ttft_s=0.1")
    seat = ("--set", "plan.schedulers=[{name='chunked_prefill', max_num_seqs=1}]")
    found = planned(
        capsys, file, *common, *seat, "--set", "plan.trace_rates=superposed", "--set", "plan.resolution=0.1"
    )
    (candidate,) = found["candidates"]

    assert "120 requests over 118 s; other rates: over the same time, thinned at random" in found["load"]
    assert "with P(" in found["answer"], "copies are drawn, so that there is something to be sure of"
    assert candidate["carries"]["seeds"] >= 2
    assert 0.1 < candidate["carries"]["rate_per_s"] < 3


def test_the_stages_of_slos_serve_are_a_target(file):
    """Ten tokens in a row may take as long on the way as one of them: the bound is on their mean."""
    scenario = load_scenario(file, ["slo.tpot_s=0.05", "workload.requests=300", "workload.arrivals.rate_per_s=4"])
    slo = Slo(ttft_s=0.3, tpot_s=0.05)
    target = parse_target("forms.slos_serve_attainment >= 0.9", "", slo)
    point = measure(scenario, [target], finite=True)
    timelines = run(scenario).record.timelines()

    assert point.values[target.metric] == pytest.approx(meets_stages(timelines, slo).mean())
    assert point.missed[str(target)].of == 300


def test_forms_of_other_papers_are_targets(file):
    """As the library has each of them, from the run's token times."""
    scenario = load_scenario(
        file, ["slo.ttft_s=0.05", "slo.tbt_s=0.012", "workload.requests=300", "workload.arrivals.rate_per_s=4"]
    )
    slo = Slo(ttft_s=0.05, tbt_s=0.012)
    texts = (
        "aegaeon_attainment >= 0.9",
        "mooncake_wasted_tokens_per_s <= 1",
        "andes_qoe >= 0.5",
        "fluidity_index >= 0.5",
    )
    targets = [parse_target(f"forms.{text}", "", slo) for text in texts]
    point = measure(scenario, targets, finite=True)
    timelines = run(scenario).record.timelines()
    speed = scenario.user.tokens_per_s

    assert 0 < point.values["forms.aegaeon_attainment"] < 1
    assert [point.values[target.metric] for target in targets] == pytest.approx(
        [
            aegaeon_attainment(timelines, slo),
            10 * (~meets(timelines, slo)).sum() / np.ptp(timelines.arrival_s),
            qoe(timelines, ttft_s=0.05, tokens_per_s=speed).mean(),
            fluidity_index(timelines, prefill_s=0.05, decode_s=0.012).mean(),
        ]
    )
    assert not targets[1].kept(math.inf), "a form without a number"
    assert not targets[0].kept(math.inf)
    assert not any(name.startswith("forms.") for name in measure(scenario, [], finite=True).values)


def test_a_plan_answers_by_a_form_of_another_paper(file, capsys):
    found = planned(
        capsys, file, "--set", "plan.targets=['forms.andes_qoe >= 0.9']", "--set", "plan.find=load",
        "--set", "plan.resolution=0.5",
    )  # fmt: skip

    assert "P(forms.andes_qoe >= 0.9)" in found["answer"]


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("vidur", ["queueing_s.p99 <= 5"]),
        ("distserve", ["slo.attainment >= 0.9"]),
        ("sarathi", ["tbt_s.p99 <= 0.1", "queueing_s.p50 <= 2"]),
        ("slos-serve", ["forms.slos_serve_attainment >= 0.9"]),
        ("stability", ["smooth_goodput_tokens_per_s >= 0"]),
    ],
)
def test_capacity_is_asked_for_as_a_paper_defines_it(file, name, targets):
    asked = read_plan(file, ["slo.tbt_s=0.1"], named=name)

    assert asked.table.find == "load"
    assert [str(target) for target in asked.targets] == targets
    assert asked.about


def test_mooncakes_bounds_are_multiples_of_an_unloaded_server(file):
    """One request at a time of 400 tokens has the same TTFT each time, so that its P90 is any of them."""
    ttft, tbt = read_plan(file, named="mooncake").targets
    alone = run(load_scenario(file, ["workload.arrivals={process='closed', concurrency=1}", "workload.requests=3"]))

    assert (ttft.metric, tbt.metric) == ("ttft_s.p90", "tbt_s.p90")
    assert ttft.bound == pytest.approx(10 * alone.score["ttft_s.p50"], rel=1e-4)
    assert tbt.bound == pytest.approx(5 * alone.score["tbt_s.p90"], rel=1e-3)


def test_settings_are_varied_and_candidates_that_cannot_be_the_cheapest_are_left_out(file, capsys):
    varied = 'plan.vary={"cluster.block_size"=[16, 32]}'
    dear = "plan.gpus=['a100-sxm4-80gb', 'h200-sxm']"
    prices = "plan.price_usd_per_hour={a100-sxm4-80gb=2.0, h200-sxm=900.0}"
    one_seat = "plan.schedulers=[{name='chunked_prefill', max_num_seqs=1}]"
    found = planned(capsys, file, *(x for c in (varied, dear, prices, one_seat) for x in ("--set", c)))
    names = [candidate["scheduler"] for candidate in found["candidates"]]

    assert names == [f"chunked_prefill (max_num_seqs 1), cluster.block_size {size}" for size in (16, 32)]
    assert len(found["left_out"]) == 2
    assert all("h200-sxm" in words and "dearer than the cheapest found" in words for words in found["left_out"])


def test_a_days_load_is_planned_by_whole_days_and_by_phase(file, capsys):
    day = "workload.arrivals={process='diurnal', rate_per_s=20.0, amplitude=0.9, period_s=25.0, peak_s=12.5}"
    found = planned(capsys, file, "--set", day, "--set", "plan.phases=2", "--set", "plan.most_requests=2000")
    phases = [phase["instances"] for phase in found["phases"]]
    carries = found["candidates"][0]["carries"]

    assert carries["requests"] % 500 == 0, "days of 500 requests"
    assert phases == sorted(phases)[::-1] or phases == sorted(phases)
    assert max(phases) >= carries["instances"] - 1 >= min(phases) - 1


def test_pools_are_split_at_equal_cost(tmp_path, capsys):
    scenario = tmp_path / "split.toml"
    scenario.write_text(SPLIT)
    found = planned(capsys, str(scenario))
    candidates = found["candidates"]

    units = ["(1P + 2D) a100-sxm4-80gb", None]
    assert [candidate.get("unit") for candidate in candidates] == units
    assert len({candidate["carries"]["usd_per_hour"] for candidate in candidates}) == 1
    assert candidates[1]["carries"]["instances"] == 3


def test_run_takes_the_scenario_of_a_plan_as_it_is(file, capsys):
    assert main(["run", file, "--json", "--set", "workload.requests=20"]) == 0
    assert json.loads(capsys.readouterr().out)["requests"]["total"] == 20
