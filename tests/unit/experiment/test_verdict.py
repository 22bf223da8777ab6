"""The verdict in the score, and what a run keeps to itself that is not steady."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llmsim import experiment
from llmsim.cli import main
from llmsim.experiment.verdict import share_in_steps
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.scenario import load_scenario
from llmsim.schedulers.fcfs import Fcfs
from llmsim.testing import serve, workload

SCENARIO = """\
[workload]
requests = {requests}
arrivals = {{ process = "poisson", rate_per_s = {rate} }}
lengths = {{ source = "fixed", prompt_tokens = 500, output_tokens = 20 }}
[scheduler]
name = "chunked_prefill"
max_num_seqs = 16
"""
#: what the scenario's instance can serve is near 28 requests/s
CASES = {"steady": (8.0, 3000), "overloaded": (60.0, 1500), "too short": (8.0, 100)}


@pytest.fixture(params=CASES)
def judged(request, tmp_path):
    rate, requests = CASES[request.param]
    file = tmp_path / "judged.toml"
    file.write_text(SCENARIO.format(rate=rate, requests=requests))
    return request.param, file


def score_of(capsys, *arguments):
    assert main(["run", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_p99s_are_shown_of_steady_runs_only_unless_forced(judged, capsys):
    answer, file = judged
    score, forced = score_of(capsys, file), score_of(capsys, file, "--force")
    full = experiment.run(load_scenario(file)).score.to_dict()

    assert score["verdict"]["answer"] == answer
    for name in ("ttft_s", "tpot_s", "tbt_s", "e2e_s", "queueing_s", "idle_latency_s"):
        assert score[name]["p99"] == (full[name]["p99"] if answer == "steady" else None)
        assert forced[name] == full[name]
        assert score[name]["p90"] == full[name]["p90"]
    marked = {"withheld": score, "forced": forced}
    for key, shown in marked.items():
        assert ("ttft_s.p99" in shown["verdict"].get(key, ())) == (answer != "steady")


def test_the_table_and_the_file_say_the_same(judged, tmp_path, capsys):
    answer, file = judged
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert main(["run", str(file), "--out", str(tmp_path / "out"), "--force"]) == 0
    forced = capsys.readouterr().out
    stored = json.loads((tmp_path / "out" / "score.json").read_text())

    assert f"{answer.replace('too short', 'too short to say')}: " in printed
    assert ("P99s withheld, --force shows them" in printed) == (answer != "steady")
    assert ("P99s marked * are not to be relied on" in forced) == (answer != "steady")
    assert stored["verdict"]["answer"] == answer
    assert stored["ttft_s"]["p99"] is not None


def test_a_window_is_judged_within_its_bounds(tmp_path):
    """The load doubles beyond capacity half-way: the first half alone is steady."""
    trace = tmp_path / "trace.csv"
    rng = np.random.default_rng(0)
    calm = np.cumsum(rng.exponential(1 / 8, 3000))
    storm = calm[-1] + np.cumsum(rng.exponential(1 / 60, 6000))
    rows = "".join(f"{t:.6f},500,20\n" for t in (*calm, *storm))
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n" + rows)
    file = tmp_path / "both.toml"
    file.write_text(f'[workload]\ntrace = "{trace}"\nformat = "csv"\n[scheduler]\nmax_num_seqs = 16\n')

    whole = experiment.run(load_scenario(file)).score["verdict"]
    first = experiment.run(load_scenario(file, [f"window.end_s={calm[-1]}"])).score["verdict"]

    assert whole["answer"] != "steady"
    assert first["answer"] == "steady"


def test_utilisation_by_hand():
    """One prompt of 100 tokens, two more tokens: 20 ms and twice 10 ms of work, at 1 s, on one of two instances."""
    record = serve(workload((1.0, 100, 3), (1.0, 100, 3)), Fcfs(), instances=2)
    busy_s = record.end_s - 1.0

    assert share_in_steps(record, 0.0, 2.0) == pytest.approx(busy_s / 2)
    assert share_in_steps(record, 1.0, 1.0 + busy_s / 2) == pytest.approx(1.0)
    assert share_in_steps(record, 1.0, 1.0) is None


@pytest.mark.parametrize(
    "changes",
    [
        ["patience={next_token={mean_s=0.000001}}"],
        [
            "pool=[{name='p', role='prefill', instances=1}, {name='d', role='decode', instances=1, num_gpu_blocks=2}]",
            "kv_transfer={bandwidth_gb_per_s=20.0}",
        ],
    ],
    ids=["every user leaves after the first token", "no request fits where it would decode"],
)
def test_a_run_of_which_nothing_comes_is_not_steady(changes: list[str]) -> None:
    """They were worked on, and the queue does not grow."""
    lengths = "workload.lengths={source='fixed', prompt_tokens=200, output_tokens=20}"
    scenario = load_scenario("quickstart", ["workload.requests=400", "cluster.latency=roofline", lengths, *changes])
    found = experiment.run(scenario).score.section(RunVerdict)

    assert found.answer == "nothing served"
    assert found.reason == "not one of 400 requests was finished: all were given up"
