from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmsim.cli import main
from llmsim.latency.hardware import load_host
from llmsim.latency.profile import load_profile, read_profile
from llmsim.latency.sources.constant import Constant
from llmsim.reports.plots import MeasuredStep, step_times_figure
from places import DATA, evidence

THESE = ["--gpu", "a100-sxm4-80gb", "--model", "llama-3.1-8b"]


@pytest.fixture
def operators() -> Path:
    return evidence("profiles/ops")


@pytest.mark.draws
@pytest.mark.parametrize("latency", ["table", "roofline"])
def test_show_prints_step_times_and_draws(latency: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "steps.png"

    assert main(["profile", "show", *THESE, "--latency", latency, "--picture", str(picture)]) == 0
    assert "decode 1 x context 1024" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["profile", "show", *THESE, "--latency", latency, "--json"]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert all(step["time_s"] > 0 for step in steps)


def test_every_panel_says_what_its_dots_are() -> None:
    figure = step_times_figure(Constant(step_s=0.01), "mine", [MeasuredStep(0, 1, 512, 0.01)])
    titles = [axes.get_title(loc="left") for axes in figure.axes]

    assert titles == ["mine\ndecode; dots: reference", "decode; dots: reference", "prefill; dots: reference"]
    assert figure.axes[1].get_legend().get_texts()[0].get_text() == "1 sequence"


@pytest.mark.draws
def test_show_draws_reference_steps(operators: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = str(tmp_path / "steps.png")

    assert main(["profile", "show", *THESE, "--data", str(DATA), "--picture", picture, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measured_steps"] == 46


def test_compose_gives_the_shipped_profile(operators: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine.json"

    assert main(["profile", "compose", str(operators), *THESE, "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    composed, shipped = read_profile(out), load_profile("a100-sxm4-80gb", "llama-3.1-8b")
    assert composed.linear == shipped.linear
    assert composed.error == shipped.error
    assert said["error"]["points"] == 42  # of 46 steps: the operators of the others were not measured
    assert main(["profile", "show", *THESE, "--profile", str(out)]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "--gpu", "a1000", "--model", "llama-3.1-8b"], "no gpu profile named 'a1000'"),
        (["show", *THESE, "--latency", "tabel"], "unknown latency source 'tabel'; did you mean 'table'?"),
        (["show", *THESE, "--picture", "x.jpg"], "expected a file that ends in .png"),
        (["show", *THESE, "--picture", "nowhere/x.png"], "in a folder that exists"),
        (["show", *THESE, "--profile", "none.json"], "none.json: No such file"),
        (["show", *THESE, "--data", "nowhere"], "iteration_times_ms.csv: not found"),
        (["compose", "nowhere", *THESE, "--out", "x.json"], "nowhere: no operators of 'a100_sxm'"),
        (["fit", "none.csv", "--model", "m", "--out", "x.json"], "none.csv: No such file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["profile", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


STAGES = (
    "rate_per_s,requests,ttft_mean_s,tpot_mean_s,ttft_p90_s\n2,40,0.0440,0.0124,0.055\n40,200,0.0462,0.0149,0.058\n"
)
TOY = [
    'cluster.latency={name="constant",step_s=0.01,prefill_token_s=2e-5,decode_seq_s=1e-4}',
    'workload.lengths={source="fixed",prompt_tokens=100,output_tokens=10}',
]


def test_a_host_is_fitted_to_stages_with_the_requests_of_the_scenario(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages, out = tmp_path / "stages.csv", tmp_path / "host.toml"
    stages.write_text(STAGES)
    command = ["profile", "from-bench", str(stages), "--scenario", "quickstart", "--out", str(out)]
    command += [word for change in TOY for word in ("--set", change)]

    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["role"] for row in told["stages"]] == ["fitted", "fitted", "predicted"] * 2
    assert told["host"]["request_s"] == pytest.approx(load_host(str(out)).request_s, rel=1e-3)
    assert main([*command, "--assume-sends"]) == 2
    assert "stages say their rates" in capsys.readouterr().err


def test_stages_are_compared_with_a_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = tmp_path / "stages.csv"
    stages.write_text(STAGES)
    command = ["validate", str(stages), "--scenario", "quickstart"]
    command += [word for change in [*TOY, "host.request_s=0.03"] for word in ("--set", change)]

    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(row["metric"], row["of"]) for row in told["rows"][:2]] == [
        ("stages.csv at 2/s", "mean TTFT"),
        ("stages.csv at 2/s", "mean TPOT"),
    ]
    assert len(told["checks"]) == 4  # means; percentiles have no target
    # one step of 10 ms and 100 x 20 us, half a step at most before it, and the way in
    assert 0.042 <= told["rows"][0]["predicted"] <= 0.050
    assert main([*command, "--assume-sends"]) == 2
    assert "stages say their rates" in capsys.readouterr().err
