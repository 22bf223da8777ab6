"""A run "measured" on our own engine with known host times: found again, and predicted; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from llmsim import experiment
from llmsim.cli import main
from llmsim.errors import InputError
from llmsim.latency import hardware
from llmsim.latency.hardware import HostTimes
from llmsim.metrics import request_latency
from llmsim.scenario import load_scenario
from llmsim.studies.validation.host_fit import fit_host, write_host
from llmsim.studies.validation.measured_run import read_run
from llmsim.studies.validation.result_comparison import compare_result

TRUE = {"step_s": 0.002, "sequence_s": 0.0002, "request_s": 0.03}
CHANGES = [
    "workload.requests=250",
    "workload.arrivals.rate_per_s=2",
    *(f"host.{name}={value}" for name, value in TRUE.items()),
]


@pytest.fixture(scope="module")
def served():
    return experiment.run(load_scenario("quickstart", CHANGES))


@pytest.fixture
def csv(tmp_path: Path, served) -> Path:
    seen = served.delivered
    rows = zip(
        seen.arrival_s + 7.0,
        seen.prompt_tokens,
        seen.output_tokens,
        request_latency.ttft_s(seen),
        request_latency.e2e_s(seen),
        strict=True,
    )
    lines = ["arrival_s,prompt_tokens,output_tokens,ttft_s,e2e_s", *(",".join(map(str, row)) for row in rows)]
    path = tmp_path / "measured.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_run_is_predicted_exactly_by_what_made_it(csv: Path) -> None:
    report = compare_result(read_run(csv), load_scenario("quickstart", CHANGES))

    assert report.passed
    assert max(abs(point.error_percent) for point in report.points) < 1e-6


def test_without_its_host_a_run_is_missed_and_the_report_says_so(csv: Path, capsys) -> None:
    assert main(["validate", str(csv), "--scenario", "quickstart", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)

    assert report["passed"] is False
    assert all(row["error_percent"] < -5 for row in report["rows"] if row["of"] == "mean" and row["metric"] == "TTFT")


def test_from_bench_finds_the_host_that_made_the_run(csv: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "host.toml"
    assert main(["profile", "from-bench", str(csv), "--scenario", "quickstart", "--out", str(out), "--json"]) == 0
    host = hardware.load_host(str(out))

    for name, value in TRUE.items():  # over six seeds of the run, the worst was 12 % off
        assert getattr(host, name) == pytest.approx(value, rel=0.15), name
    assert "measured.csv" in host.provenance.source
    assert load_scenario("quickstart", [f"host.profile={out}"]).host.profile == str(out)
    said = json.loads(capsys.readouterr().out)
    assert said["profile"] == str(out)
    for name, value in TRUE.items():
        low, high = said["intervals"][name]
        assert low <= getattr(host, name) * 1.001
        assert high >= getattr(host, name) * 0.999
        assert high - low < 0.4 * value, name
    loads = [one["in_flight"] for one in said["residuals"]]
    assert loads == sorted(loads)
    assert all(abs(one["tpot_percent"]) < 1 for one in said["residuals"])


def test_from_bench_says_once_that_a_fit_proves_nothing(csv: Path, tmp_path: Path, capsys) -> None:
    assert main(["profile", "from-bench", str(csv), "--scenario", "quickstart", "--out", str(tmp_path / "h.toml")]) == 0
    said = capsys.readouterr().out

    assert said.count("prove") == 1
    assert "-0.0" not in said


@pytest.mark.parametrize(
    ("ttft", "e2e", "message"),
    [
        (0.5, 0.5, "no host time helps: without any, the scenario is already as slow as what was measured"),
        (1.5, 0.5, "the scenario does not fit what was measured: with the best host times its mean TTFT"),
    ],
)
def test_constants_of_another_engine_are_refused(
    csv: Path, tmp_path: Path, capsys, ttft: float, e2e: float, message: str
) -> None:
    """Measured twice as fast as the GPU alone; or that, but for a slow way to the first token."""
    head, *lines = csv.read_text().splitlines()
    rows = [line.split(",") for line in lines]
    changed = [
        [*row[:3], str(ttft * float(row[3])), str(ttft * float(row[3]) + e2e * (float(row[4]) - float(row[3])))]
        for row in rows
    ]
    csv.write_text("\n".join([head, *map(",".join, changed)]) + "\n")
    out = tmp_path / "host.toml"

    assert main(["profile", "from-bench", str(csv), "--scenario", "quickstart", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        (2 * ["100,20,0.1,0.5"], (), "measured.csv: expected a mean TTFT and a mean TPOT above 0 of each of 3 parts"),
        (9 * ["100,1,0.1,0.1"], (), "at least 3 of them, with more than one token each"),
        (
            6 * ["100,20,0.1,0.5"] + 3 * ["900,20,0.1,0.5"],
            ("cluster.max_model_len=500",),
            "scenario quickstart: serves not one of a third of",
        ),
    ],
)
def test_what_has_no_means_is_not_fitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[str], changes: tuple[str, ...], message: str
) -> None:
    file = tmp_path / "measured.csv"
    lines = [f"{number},{row}" for number, row in enumerate(rows)]
    file.write_text("\n".join(["arrival_s,prompt_tokens,output_tokens,ttft_s,e2e_s", *lines, ""]))
    words = [word for change in changes for word in ("--set", change)]
    out = str(tmp_path / "h.toml")
    assert main(["profile", "from-bench", str(file), "--scenario", "quickstart", *words, "--out", out]) == 2
    assert message in capsys.readouterr().err


def test_a_cap_above_all_requests_is_all_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = {"backend": "vllm", "request_rate": "inf", "max_concurrency": 10**19, "duration": 2.0, "completed": 2}
    lists = {"input_lens": [9, 9], "output_lens": [2, 2], "ttfts": [0.1, 0.2], "itls": [[0.02], [0.02]]}
    file = tmp_path / "vllm.json"
    file.write_text(json.dumps(measured | lists | {"start_times": [0.0, 0.1], "errors": ["", ""]}))
    assert main(["validate", str(file), "--scenario", "quickstart"]) == 0
    assert "closed loop of 2," in capsys.readouterr().out


def test_what_a_cache_saved_is_not_taken_for_the_hosts(csv: Path, tmp_path: Path, capsys) -> None:
    """A result has no prefixes: a fit is refused, and a comparison says so."""
    caching = ["--scenario", "quickstart", "--set", "cluster.prefix_caching=true"]
    out = tmp_path / "host.toml"
    assert main(["profile", "from-bench", str(csv), *caching, "--out", str(out)]) == 2
    assert "does not say which prompts begin alike" in capsys.readouterr().err
    assert not out.exists()

    assert main(["validate", str(csv), *caching, "--json"]) == 0
    assert any("which prompts begin alike" in note for note in json.loads(capsys.readouterr().out)["notes"])


def test_a_result_of_vllms_benchmark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    bench = {"start_times": [5.0, 5.5], "ttfts": [0.1, 0.2], "itls": [[0.3, 0.5], []], "output_lens": [3, 1]}
    path.write_text(json.dumps(bench | {"input_lens": [10, 20], "duration": 2.0}))
    run = read_run(path)

    assert run.workload.arrival_s.tolist() == [0, 0.5]
    assert run.workload.prompt_tokens.tolist() == [10, 20]
    assert run.latencies.e2e_s == pytest.approx([0.9, 0.2])
    assert run.latencies.tpot_s[0] == pytest.approx(0.4)
    assert run.in_flight().tolist() == [1, 2]


def test_requests_without_an_answer_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens,ttft_s,e2e_s\n0,9,5,0.1,0.2\n1,9,5,,\n2,9,1,0.1,0.1\n")
    run = read_run(path)

    assert (len(run.workload), run.left_out) == (2, 1)


def test_fit_host_solves_a_linear_problem_and_keeps_constants_at_zero_or_above() -> None:
    load = np.array([1.0, 10.0, 40.0])

    def predict(host: HostTimes) -> np.ndarray:
        return np.concatenate([0.01 + host.step_s + load * host.sequence_s, 0.02 + host.request_s + 0 * load])

    found = fit_host(predict, predict(HostTimes(step_s=0.0007, sequence_s=2e-5, request_s=0.02)))
    assert (found.step_s, found.sequence_s, found.request_s) == pytest.approx((0.0007, 2e-5, 0.02), rel=2e-2)
    assert fit_host(predict, predict(HostTimes()) * 0.9).model_dump() == HostTimes().model_dump()


def test_a_written_host_is_read_back(tmp_path: Path) -> None:
    write_host(tmp_path / "h.toml", 'a "name"', HostTimes(step_s=0.00123), "by hand")

    assert hardware.load_host(str(tmp_path / "h.toml")).step_s == 0.00123
    assert hardware.load_host("vllm-0.11.0-h100").request_s > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arrival_s,ttft_s\n0,1\n", "has no column prompt_tokens, output_tokens, e2e_s"),
        ("arrival_s,prompt_tokens,output_tokens,ttft_s,e2e_s\n0,9,5,0.1,x\n", "line 2: e2e_s = x"),
        ("arrival_s,prompt_tokens,output_tokens,ttft_s,e2e_s\n0,9,5,1,1\n0,0,5,1,1\n", "line 3: prompt_tokens = 0"),
        ("arrival_s,prompt_tokens,output_tokens,ttft_s,e2e_s\n0,9,5,,\n", "no request has an answer"),
    ],
)
def test_a_bad_csv_is_one_line_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.csv"
    path.write_text(text)

    with pytest.raises(InputError, match=message):
        read_run(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["steps"], "expected --data DIR for a case, or --scenario"),
        (["x.csv", "--scenario", "quickstart"], "x.csv"),
        (["steps", "--data", ".", "--set", "seed=2"], "--set belongs to --scenario"),
        (["steps", "--data", "."], "--data .: holds none of groundtruth/, profiles/ and peers/"),
    ],
)
def test_what_validate_cannot_know_is_one_line(arguments: list[str], message: str, capsys) -> None:
    assert main(["validate", *arguments]) == 2
    assert message in capsys.readouterr().err
