"""A simulated run saved as a benchmark's result tells the same numbers when it is read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmsim import experiment
from llmsim.cli import main
from llmsim.interop.format import read_measured
from llmsim.metrics import request_latency
from llmsim.scenario import load_scenario

CHANGES = ["workload.requests=60", "workload.arrivals.rate_per_s=3"]
#: some are rejected, and the server gives up on some
TROUBLE = [
    *("scheduler.max_num_seqs=4", "abandonment.policy=missed", "abandonment.ttft_s=2", "workload.requests=60"),
    *("workload.arrivals.rate_per_s=4", "cluster.max_model_len=4000"),
]


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def set_all(changes: list[str]) -> list[str]:
    return [part for change in changes for part in ("--set", change)]


@pytest.mark.parametrize("changes", [CHANGES, [*CHANGES, "host.profile=vllm-0.11.0-h100"]])
@pytest.mark.parametrize(("kind", "name"), [("vllm_bench", "v.json"), ("aiperf", "a.jsonl")])
def test_saved_and_read_again(kind, name, changes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "quickstart", *set_all(changes), "--out", "out", "--save-as", f"{kind}={name}"]) == 0
    capsys.readouterr()

    run = as_json(capsys, "score", "out", "--window", "makespan", "--ttft-s", "0.3", "--tbt-s", "0.1")
    file = as_json(capsys, "score", name, "--ttft-s", "0.3", "--tbt-s", "0.1")

    assert (file["requests"], file["output_tokens"]) == (run["requests"], run["output_tokens"])
    for key in ("ttft_s", "tpot_s", "tbt_s", "e2e_s"):
        assert file[key] == pytest.approx(run[key], rel=1e-6), key
    assert file["slo"] == {
        **file["slo"], **{name: pytest.approx(value) for name, value in run["slo"].items() if isinstance(value, float)}
    }  # fmt: skip
    for key in ("output_tokens_per_s", "requests_per_s", "smooth_goodput_tokens_per_s"):
        assert file[key] == pytest.approx(run[key], rel=1e-6), key
    printed = file.get("printed", {})
    assert not any("why" in one for one in printed.values())
    assert len(printed) == (28 if kind == "vllm_bench" else 0)


def test_requests_that_were_not_served_are_errors_with_their_reason(tmp_path, capsys):
    file = tmp_path / "v.json"
    assert main(["run", "quickstart", *set_all(TROUBLE), "--json", "--save-as", f"vllm_bench={file}"]) == 0
    run, saved = json.loads(capsys.readouterr().out), json.loads(file.read_text())
    served = experiment.run(load_scenario("quickstart", TROUBLE)).delivered

    assert 0 < run["requests"]["abandoned"] + run["requests"]["rejected"] < 60
    assert saved["failed"] == 60 - run["requests"]["finished"] == sum(bool(error) for error in saved["errors"])
    assert {"max_model_len is 4000"} <= {error.partition(", ")[2] for error in saved["errors"]}
    ok = [i for i, error in enumerate(saved["errors"]) if not error]
    assert saved["mean_ttft_ms"] == pytest.approx(1e3 * float(np.mean(request_latency.ttft_s(served)[ok])))
    assert saved["output_throughput"] == pytest.approx(saved["total_output_tokens"] / saved["duration"])
    again = as_json(capsys, "score", str(file))
    assert again["requests"]["finished"] == run["requests"]["finished"]


def test_a_summary_for_dashboards_of_aiperf(tmp_path, capsys):
    records, summary = tmp_path / "a.jsonl", tmp_path / "a.json"
    asked = ("--save-as", f"aiperf={records}", "--save-as", f"aiperf={summary}")
    assert main(["run", "quickstart", *set_all(CHANGES), "--json", *asked]) == 0
    capsys.readouterr()

    one = as_json(capsys, "score", str(records))
    printed = {key: value["tool"] for key, value in as_json(capsys, "score", str(summary))["printed"].items()}

    for name in ("ttft_s", "tpot_s", "tbt_s", "e2e_s"):
        for part in ("mean", "p50", "p90", "p99"):
            assert printed[f"{name}.{part}"] == pytest.approx(one[name][part], rel=1e-6)
    assert printed["output_tokens_per_s"] == pytest.approx(one["output_tokens_per_s"], rel=1e-6)
    block = json.loads(summary.read_text())["time_to_first_token"]
    assert set(block) == {"unit", "avg", "min", "max", "std", "count", "sum"} | {
        f"p{q}" for q in (1, 5, 10, 25, 50, 75, 90, 95, 99)
    }
    assert block["sum"] == pytest.approx(block["avg"] * block["count"])


def test_a_closed_loop_is_saved_as_one_and_predicted_exactly(tmp_path, capsys):
    closed = ["workload.requests=60", 'workload.arrivals={process="closed",concurrency=6}']
    file = tmp_path / "v.json"
    assert main(["run", "quickstart", *set_all(closed), "--json", "--save-as", f"vllm_bench={file}"]) == 0
    capsys.readouterr()
    load = read_measured(file).load

    found = as_json(capsys, "validate", str(file), "--scenario", "quickstart")

    assert (load.max_concurrency, load.rate_per_s) == (6, np.inf)
    assert "as a closed loop of 6" in found["about"]
    assert max(abs(row["error_percent"]) for row in found["rows"]) < 1e-6


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("sglang_bench=x.json", "--save-as sglang_bench=…: unknown format"),
        ("vllm_bench", "--save-as vllm_bench: expected FORMAT=FILE"),
        ("vllm_bench=nowhere/x.json", "nowhere/x.json: expected a file in a folder that exists"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_the_run(asked, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    assert main(["run", "quickstart", "--save-as", asked]) == 2
    assert says in capsys.readouterr().err
    assert list(Path().iterdir()) == []
