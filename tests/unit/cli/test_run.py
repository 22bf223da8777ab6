from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmsim import experiment
from llmsim.cli import main
from llmsim.engine.recorder import Recorder
from llmsim.errors import LlmsimError
from llmsim.reports import plots
from llmsim.request import Request
from small_scenario import small

SMALL = small("a small one", more="instances = 2\n")

POLICY = """\
from __future__ import annotations
from dataclasses import dataclass
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.scheduler import Decision, InstanceView, Scheduler

@dataclass(frozen=True)
class OneByOne(Scheduler):
    budget: int = 512

    def schedule(self, view: InstanceView) -> Decision:
        return ChunkedPrefill(max_num_batched_tokens=self.budget, max_num_seqs=1).schedule(view)
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(SMALL)
    return "small.toml"


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["run", *arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    score: dict[str, Any] = json.loads(captured.out)
    return score


def test_run_prints_a_table_and_writes_tables_and_pictures(
    small: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", small]) == 0
    out = capsys.readouterr().out

    assert "a small one" in out
    assert "40: 40 finished" in out
    folder = Path("results/a_small_one")
    assert str(folder / "load.png") in out
    assert sorted(file.name for file in folder.iterdir()) == [
        "latencies.png",
        "load.png",
        "requests.parquet",
        "scenario.json",
        "score.json",
        "seal.json",
        "segments.parquet",
        "step_ends.parquet",
        "steps.parquet",
        "timelines.png",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "small.toml"]


def test_json_is_all_that_json_prints_and_nothing_is_written(
    small: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    score = run_json(capsys, small)

    outcomes = ("finished", "abandoned", "cancelled", "rejected", "unfinished")
    assert score["requests"]["total"] == 40 == sum(score["requests"][name] for name in outcomes)
    for name in ("ttft_s", "tpot_s", "tbt_s", "e2e_s"):
        assert {"mean", "p50", "p90", "p99", "n"} <= score[name].keys()
    assert {"attainment", "goodput_tokens_per_s", "goodput_requests_per_s"} <= score["slo"].keys()
    assert {
        "output_tokens_per_s",
        "requests_per_s",
        "smooth_goodput_tokens_per_s",
        "simulated_s",
        "wall_s",
    } <= score.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(
    small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = [run_json(capsys, small, "--out", name) for name in ("a", "b")]
    other = run_json(capsys, small, "--seed", "7")
    for score in (*scores, other):
        del score["wall_s"]

    assert scores[0] == scores[1] != other
    for file in Path("a").iterdir():
        if file.name not in ("score.json", "seal.json"):  # of the time that it took
            assert file.read_bytes() == (Path("b") / file.name).read_bytes(), file.name


def test_stepwise_gives_the_same_score(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    fast, slow = run_json(capsys, small), run_json(capsys, small, "--stepwise")

    assert fast | {"wall_s": 0} == slow | {"wall_s": 0}


def test_a_scheduler_is_chosen_by_name_or_by_file(
    small: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "draw", lambda *_: None)
    Path("mine.py").write_text(POLICY)
    named = run_json(capsys, small, "--scheduler", "fcfs", "--out", "named")
    mine = run_json(capsys, small, "--scheduler-file", "mine.py", "--set", "scheduler.budget=256", "--out", "mine")

    assert json.loads(Path("named/scenario.json").read_text())["scheduler"] == {"name": "fcfs"}
    assert json.loads(Path("mine/scenario.json").read_text())["scheduler"] == {"name": "mine", "budget": 256}
    assert mine["e2e_s"]["mean"] > named["e2e_s"]["mean"], "one request at a time makes the others wait"


def test_a_trace_is_run_whole_and_in_part(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("trace.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0.0,10,3\n0.5,20,4\n1.0,30,5\n")

    whole = run_json(capsys, small, "--set", "workload.trace=trace.csv")
    part = run_json(capsys, small, "--set", "workload.trace=trace.csv", "--set", "workload.limit=2")

    assert whole["requests"]["finished"] == 3
    assert whole["output_tokens"] == 3 + 4 + 5
    assert part["requests"]["total"] == 2


@pytest.mark.draws
@pytest.mark.parametrize("change", ["cluster.max_model_len=10", "workload.requests=1", "until_s=0.8"])
def test_a_run_with_little_to_show_shows_it(small: str, change: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", small, "--set", change]) == 0
    captured = capsys.readouterr()

    assert captured.err == ""
    assert "timelines.png" in captured.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["small.tml"], "small.tml: no such scenario file"),
        (["small.toml", "--set", "cluster.gpu=x100"], "command line: cluster.gpu: "),
        (["small.toml", "--set", "cluster.model=llama"], "command line: cluster.model: "),
        (
            ["small.toml", "--set", "cluster.router=random_robin"],
            "command line: cluster.router: unknown router",
        ),
        (
            ["small.toml", "--scheduler", "fcsf"],
            "command line: scheduler.name: unknown scheduler 'fcsf'; did",
        ),
        (
            ["small.toml", "--set", "scheduler.max_num_seq=4"],
            "scheduler.max_num_seq: unknown key; did you mean",
        ),
        (["small.toml", "--set", "scheduler.max_num_batched_tokens=8"], "scheduler: max_num_batched"),
        (["small.toml", "--set", "cluster.model=llama-3.1-70b"], "does not fit"),
        (["quickstart", "--set", "cluster.model=llama-3.1-70b"], "cluster.model: llama-3.1-70b does not fit 1 x"),
        (["small.toml", "--set", "workload.requests=1000000000000"], "workload.requests: 1000000000000: expected"),
        (["small.toml", "--set", "cluster.instances=1000000000"], "cluster.instances: 1000000000: expected"),
        (["small.toml", "--set", "workload.arrivals.rate_per_s=1e-320"], "rate_per_s: 9.99989e-321: expected a number"),
        (["small.toml", "--set", "user.tokens_per_s=1e-320"], "user.tokens_per_s: 9.99989e-321: expected a number"),
        (["small.toml", "--set", "user.alpha=1e308"], "user.alpha: 1e+308: expected a number from 1e-09 to 1e+12"),
        (["small.toml", "--set", "cluster.block_size=1000000"], "cluster.block_size: 1000000: expected"),
        (["small.toml", "--set", "user.charge=until_patience"], "user.patience_s"),
        (["small.toml", "--set", "workload.trace=small.toml"], "workload.trace: "),
        (["small.toml", "--scheduler", "fcfs", "--scheduler-file", "x.py"], "exclude each other"),
        (["small.toml", "--seed", "1", "--set", "seed=2"], "--seed and --set seed=… exclude each other"),
        (
            ["small.toml", "--scheduler", "fcfs", "--set", "scheduler.name=static"],
            "--scheduler and --set scheduler.name",
        ),
        (["small.toml", "--scheduler", "fcfs", "--set", 'scheduler={name="static"}'], "exclude each other; give one"),
        (["small.toml", "--scheduler-file", "x.py"], "x.py: no such file"),
        (["small.toml", "--out", "small.toml"], "small.toml: expected a folder"),
        (["small.toml", "--out", "small.toml/in/it"], "error: small.toml: expected a folder"),
        (["small.toml", "--out", "."], "holds files, but no scenario.json of this command"),
        (
            ["small.toml", "--set", "plan.find=load"],
            "command line: plan.find: [plan] is no part of the experiment; only",
        ),
        (
            ["small.toml", "--set", "sweep.seeds=2"],
            "sweep.seeds: [sweep] is no part of the experiment; llmsim sweep --",
        ),
        (["small.toml", "--seed", "-1"], "command line: seed: -1: expected"),
        (["small.toml", "--sed", "1"], "No such option: --sed"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    small: str, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", *arguments]) == 2
    captured = capsys.readouterr()

    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "small.toml"]


def test_a_run_too_large_for_the_machine_is_told_in_one_line(
    small: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def too_large(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(experiment, "run", too_large)

    assert main(["run", small, "--out", "out"]) == 2
    assert capsys.readouterr().err == "error: out of memory, ask for fewer requests or instances\n"
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


@pytest.mark.parametrize("told_as", [KeyboardInterrupt, RuntimeError, LlmsimError, SystemExit])
def test_ctrl_c_leaves_nothing_behind(
    small: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    told_as: type[BaseException],
) -> None:
    """Also where a library, or Python while a class is made, turns it into an error of another kind."""

    def interrupted(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise told_as("Error calling __set_name__") from None

    monkeypatch.setattr(experiment, "run", interrupted)

    assert main(["run", small, "--out", "out"]) == 130
    assert capsys.readouterr().err.strip() == "error: interrupted; nothing is half-written"
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


def test_a_file_without_times_runs_at_those_that_are_asked_for(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The arrivals of the scenario that a trace takes the place of are not those of the trace."""
    Path("trace.csv").write_text("prompt_tokens;output_tokens\n10;3\n20;4\n30;5\n")
    words = [small, "--set", "workload.trace=trace.csv"]

    assert main(["run", *words]) == 2
    assert "trace.csv: no times in it (no column 'arrival_s'); say when its requests come" in capsys.readouterr().err
    drawn = run_json(capsys, *words, "--set", "workload.arrivals={process='poisson',rate_per_s=4}")
    closed = run_json(capsys, *words, "--set", "workload.arrivals={process='closed',concurrency=2}")
    assert drawn["output_tokens"] == closed["output_tokens"] == 12


def test_another_scenarios_result_is_never_replaced_in_silence(
    small: str, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    for _ in range(2):  # the same again is the same folder
        assert main(["run", small]) == 0
    assert [path.name for path in Path("results").iterdir()] == ["a_small_one"]
    first = Path("results/a_small_one/scenario.json").read_bytes()
    assert main(["run", small, "--seed", "7"]) == 0
    (other,) = {path.name for path in Path("results").iterdir()} - {"a_small_one"}
    assert re.fullmatch("a_small_one-[0-9a-f]{6}", other)
    assert f"results/{other}" in capsys.readouterr().out

    again = ("run", small, "--seed", "8", "--out", "results/a_small_one")
    assert "holds another result" in refused(*again)
    assert Path("results/a_small_one/scenario.json").read_bytes() == first
    assert main([*again, "--force"]) == 0
    assert Path("results/a_small_one/scenario.json").read_bytes() != first


def test_a_run_that_breaks_what_every_run_keeps_is_told(
    small: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for change in ("seed=1", "scheduler.async_scheduling=true"):
        assert main(["run", small, "--check", "--json", "--set", change]) == 0
    keep = Recorder.ended

    def lose_a_token(self: Recorder, request: Request, *more: Any) -> None:
        request.emitted_before -= request.id == 3
        keep(self, request, *more)

    monkeypatch.setattr(Recorder, "ended", lose_a_token)
    capsys.readouterr()
    assert main(["run", small, "--check", "--out", "out"]) == 2
    assert "breaks what every run must keep, please tell the maintainers: finished without" in capsys.readouterr().err
    assert not Path("out").exists()
