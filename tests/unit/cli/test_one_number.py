"""One name, one number: what run, score, audit and validate call by one name is one value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmsim.cli import main

#: users who leave and try again: requests are not attempts
RETRIED = [
    *("workload.requests=300", "patience.first_token={mean_s=0.2}", "retries.max_attempts=3"),
    'workload.classes=[{name="a",weight=0.5},{name="b",weight=0.5}]',
]
BURST = ["workload.requests=60", "workload.arrivals.rate_per_s=10000", "cluster.latency=roofline"]


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def served(capsys: pytest.CaptureFixture[str], folder: str, changes: list[str]) -> dict[str, Any]:
    """The score of a run that is kept in a folder."""
    sets = [part for change in changes for part in ("--set", change)]
    return as_json(capsys, "run", "quickstart", *sets, "--out", folder, "--force")


@pytest.mark.parametrize("changes", [RETRIED, BURST])
def test_run_score_and_audit(changes, tmp_path, capsys):
    run = served(capsys, str(tmp_path / "out"), changes)
    score = as_json(capsys, "score", str(tmp_path / "out"))
    audit = {row["metric"]: row["as_is"] for row in as_json(capsys, "audit", str(tmp_path / "out"))["metrics"]}

    for key in ("requests", "ttft_s", "tpot_s", "tbt_s", "e2e_s", "queueing_s", "slo", "output_tokens_per_s",
                "requests_per_s", "smooth_goodput_tokens_per_s", "classes"):  # fmt: skip
        assert score.get(key) == run.get(key), key
    assert audit["throughput"] == score["output_tokens_per_s"]
    assert audit["goodput"] == score["slo"]["goodput_tokens_per_s"]
    assert audit["attainment"] == 100 * score["slo"]["attainment"]
    p99_s = score["ttft_s"]["p99"]
    assert audit["ttft_p99_all"] == (None if p99_s is None else pytest.approx(1e3 * p99_s))


def test_a_burst_has_no_arrival_window(tmp_path, capsys):
    run = served(capsys, str(tmp_path / "out"), BURST)
    window = run["choices"]["window"]

    assert (window["asked"], window["kind"]) == ("arrivals", "makespan")
    assert run["requests_per_s"] == pytest.approx(60 / window["duration_s"])
    assert run["slo"]["goodput_requests_per_s"] <= run["requests_per_s"]
    assert main(["score", str(tmp_path / "out")]) == 0
    assert "since arrivals are a burst" in capsys.readouterr().out


def test_the_rate_of_validate_is_that_of_score(tmp_path, capsys):
    file = str(tmp_path / "v.json")
    sets = ("--set", "workload.requests=40")
    assert main(["run", "quickstart", *sets, "--save-as", f"vllm_bench={file}", "--json"]) == 0
    capsys.readouterr()

    rows = as_json(capsys, "validate", file, "--scenario", "quickstart")["rows"]
    measured = {(row["metric"], row["of"]): row["measured"] for row in rows}
    score = as_json(capsys, "score", file)

    assert measured["throughput", "mean"] == score["requests_per_s"]
    for name, key in (("TTFT", "ttft_s"), ("TPOT", "tpot_s"), ("E2E", "e2e_s")):
        for part in ("mean", "p50", "p90", "p99"):
            assert measured[name, part] == pytest.approx(score[key][part])


def test_percentiles_that_are_estimates_are_marked(tmp_path, capsys):
    bench = {"ttfts": [0.5, 0.25, 0.0], "itls": [[0.25], [0.5], []], "output_lens": [2, 2, 0], "duration": 4.0}
    bench |= {"input_lens": [7, 8, 9], "start_times": [11.0, 10.0, 12.0], "errors": ["", "", ""]}
    file = tmp_path / "bench.json"

    file.write_text(json.dumps(bench))
    assert main(["score", str(file)]) == 0
    shown = capsys.readouterr().out
    file.write_text(json.dumps(bench | {"ttfts": [0.5, 0.25, 0.1], "output_lens": [2, 2, 1]}))
    assert main(["score", str(file)]) == 0
    exact = capsys.readouterr().out

    assert ["TTFT, ms †" in shown, "E2E, ms †" in shown, "TPOT per request, ms †" in shown] == [True, True, False]
    assert "† after Kaplan and Meier: up to 1 of 3 requests cut short" in shown
    assert "†" not in exact
