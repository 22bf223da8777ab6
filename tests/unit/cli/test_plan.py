"""`llmsim plan` from the command line: what it prints, writes and refuses."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from llmsim.cli import main

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
schedulers = [{ name = "chunked_prefill", max_num_seqs = 4 }]
price_usd_per_hour = { a100-sxm4-80gb = 2.0 }
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


def test_a_plan_is_printed_and_kept(file, tmp_path, capsys):
    assert main(["plan", file]) == 0
    printed = capsys.readouterr().out
    folder = tmp_path / "results" / "a_small_plan-plan"
    kept = json.loads((folder / "plan.json").read_text())
    evaluations = pd.read_parquet(folder / "evaluations.parquet")
    runs = pd.read_parquet(folder / "runs.parquet")
    (candidate,) = kept["candidates"]

    assert sorted(path.name for path in folder.iterdir()) == [
        "evaluations.parquet", "pareto.png", "plan.json", "runs.parquet", "seal.json",
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


def test_a_scenario_without_a_plan_or_with_a_trace_is_told(file, tmp_path, refused):
    assert "no table [plan]" in refused("plan", "quickstart")
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,10,10\n1,10,10\n")
    assert "a plan needs drawn requests" in refused("plan", file, "--set", f"workload.trace={trace}")


def test_a_closed_loop_has_no_load_to_plan_for(file, refused):
    closed = "workload.arrivals={process='closed', concurrency=4}"

    assert "a closed loop asks for no rate" in refused("plan", file, "--set", closed)


def test_run_takes_the_scenario_of_a_plan_as_it_is(file, capsys):
    assert main(["run", file, "--json", "--set", "workload.requests=20"]) == 0
    assert json.loads(capsys.readouterr().out)["requests"]["total"] == 20
