from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmsim.cli import main
from small_scenario import small

A = [0.1 * i for i in range(1, 11)] + [2.0 + 0.1 * i for i in range(10)]
B = [0.1, 0.2] + [1.2 + 0.1 * i for i in range(18)]
C = [0.2 + 0.02 * i + (0.48 if i >= 15 else 0.0) for i in range(30)]
C_PACED = [0.2 + 0.1 * i for i in range(30)]

BENCH: dict[str, Any] = {
    "duration": 4.0,
    "input_lens": [7, 8],
    "output_lens": [3, 1],
    "ttfts": [0.5, 0.25],
    "itls": [[0.25, 0.5], []],
    "start_times": [11.0, 10.0],
    "errors": ["", ""],
}

SMALL = small("a small one")


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, vectors in (("ab", (A, B)), ("c", (C, C_PACED))):
        Path(f"{name}.json").write_text(json.dumps([{"arrival_s": 5.0, "token_times_s": [5.0 + t for t in v]}
                                                    for v in vectors]))  # fmt: skip


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["score", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(printed(capsys, *arguments, "--json"))
    return values


def row_of(out: str, request: int) -> list[str]:
    return next(line.split() for line in out.splitlines() if line.split()[:1] == [str(request)])


@pytest.mark.parametrize("anchor", ["arrival", "first_token"])
def test_vectors_a_and_b_to_three_decimals(anchor: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "--timelines", "ab.json", "--tokens-per-s", "4", "--anchor", anchor)

    # n, TTFT, largest gap, TPOT, last token, l: arrival, first token V (i - 1), V i; QoE, fluidity
    assert " ".join(row_of(out, 0)[1:]) == "20 0.100 1.000 0.147 2.900 -0.150 0.000 -0.250 1.000 1.000"
    assert " ".join(row_of(out, 1)[1:]) == "20 0.100 1.000 0.147 2.900 0.450 0.600 0.350 0.942 0.905"


def test_vector_c_and_its_delayed_twin(capsys: pytest.CaptureFixture[str]) -> None:
    choices = ("--tokens-per-s", "20", "--offset-s", "0.5", "--ttft-s", "0.5", "--tbt-s", "0.1")
    out = printed(capsys, "--timelines", "c.json", *choices)

    raw, paced = row_of(out, 0), row_of(out, 1)
    assert "…" not in out
    assert (raw[3], raw[5], raw[6], raw[-1]) == ("0.500", "1.260", "-0.320", "no")
    assert (paced[3], paced[5], paced[6], paced[-1]) == ("0.100", "3.100", "1.100", "yes")
    assert "50.00 % of all requests: TTFT ≤ 0.5 s, ITL ≤ 0.1 s" in out


@pytest.mark.parametrize(("anchor", "lateness"), [("arrival", (0.0, 0.45)), ("first_token", (0.0, 0.35))])
def test_the_score_of_timelines_by_hand(
    anchor: str, lateness: tuple[float, float], capsys: pytest.CaptureFixture[str]
) -> None:
    found = as_json(capsys, "--timelines", "ab.json", "--tokens-per-s", "4", "--anchor", anchor, "--alpha", "2")

    assert found["smooth_goodput_tokens_per_s"] == pytest.approx((40 - 2 * sum(lateness)) / 2.9)
    assert [row["n_tokens"] for row in found["per_request"]] == [20, 20]
    assert found["choices"]["times"] == "as delivered to the client (timelines)"


def test_no_column_is_cut_where_times_are_long(capsys: pytest.CaptureFixture[str]) -> None:
    late = [{"arrival_s": 0, "token_times_s": [0.4, 0.5, 12345.6]}, {"arrival_s": 7000, "token_times_s": [7000.4]}]
    Path("late.json").write_text(json.dumps(late))

    out = printed(capsys, "--timelines", "late.json", "--tokens-per-s", "20", "--ttft-s", "1")

    assert row_of(out, 0)[3:6] == ["12,345", "6,173", "12,346"]
    assert "…" not in out


def test_a_run_that_was_not_steady_says_so_and_marks_its_p99s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "overloaded", "--set", "workload.requests=200", "--out", str(tmp_path / "run")]) == 0
    said = next(line for line in capsys.readouterr().out.splitlines() if "P99s withheld" in line)

    shown = printed(capsys, str(tmp_path / "run"))
    found = as_json(capsys, str(tmp_path / "run"))

    assert said.split(";")[0] in shown
    assert "P99s marked * are not to be relied on" in shown
    assert "ttft_s.p99" in found["verdict"]["forced"]
    assert f"{found['ttft_s']['p99'] * 1e3:,.0f}*" in shown


def test_idle_instances_count_in_the_verdict_of_a_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "run")
    assert (
        main(["run", "quickstart", "--set", "cluster.instances=4", "--set", "workload.requests=2", "--out", out]) == 0
    )
    capsys.readouterr()

    before = json.loads((tmp_path / "run" / "score.json").read_text())["verdict"]["evidence"]

    assert as_json(capsys, out)["verdict"]["evidence"] == before


def test_kinds_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    Path("vllm.json").write_text(json.dumps(BENCH, indent=2))
    sglang = {key: value for key, value in BENCH.items() if key != "start_times"}
    Path("one.jsonl").write_text(json.dumps(sglang | {"mean_e2e_latency_ms": 1.0}) + "\n")

    found = as_json(capsys, "ab.json", "vllm.json", "one.jsonl")["results"]

    sources = [values["choices"]["times"] for values in found]
    assert ["timelines" in sources[0], "vLLM" in sources[1], "SGLang" in sources[2]] == [True] * 3
    assert [values["requests"]["total"] for values in found] == [2, 2, 2]
    assert found[1]["ttft_s"]["mean"] == found[2]["ttft_s"]["mean"] == (0.5 + 0.25) / 2
    assert found[1]["slo"] is None


def test_a_run_is_scored_again_under_another_slo(capsys: pytest.CaptureFixture[str]) -> None:
    Path("small.toml").write_text(SMALL)
    assert main(["run", "small.toml", "--out", "out", "--set", "delivery.policy=paced", "--set",
                 "delivery.tbt_s=0.05", "--force"]) == 0  # fmt: skip
    capsys.readouterr()
    first = json.loads(Path("out/score.json").read_text())

    again = as_json(capsys, "out")
    stricter = as_json(capsys, "out", "--tpot-s", "0.049", "--window", "1:3")

    for name in ("requests", "ttft_s", "tbt_s", "queueing_s", "slo", "smooth_goodput_tokens_per_s"):
        assert again[name] == first[name], name
    assert stricter["choices"]["slo"] == {
        "ttft_s": None,
        "tbt_s": None,
        "tpot_s": 0.049,
        "e2e_s": None,
        "token_deadline_s": None,
    }
    assert stricter["slo"]["attainment"] == 0.0
    assert stricter["requests"]["total"] < again["requests"]["total"]
    assert "per_request" not in again


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nothing to score"),
        (["nowhere.json"], "nowhere.json: cannot be read"),
        (["."], "expected a folder that llmsim run has written"),
        (["text.json"], "text.json: expected JSON, JSON lines, CSV, or YAML"),
        (["cut.json"], "not valid JSON"),
        (["ab.json", "--window", "makspan"], "did you mean 'makespan'?"),
        (["ab.json", "--anchor", "arival"], "did you mean 'arrival'?"),
        (["ab.json", "--ttft-s", "-1"], "slo.ttft_s: expected seconds"),
        (["broken.json"], "broken.json: request 0, token_times_s[1]: negative gap"),
        (["nan.json"], "nan.json: request 0, itls[1]: expected a finite number"),
        (["ab.json", "--run", "2"], "ab.json: --run 2: expected 1 to 1"),
        (["ab.json", "--run", "first"], "--run first: expected a number from 1 on, or all"),
        (["strange.json"], "that no tool known here writes (its keys are colour, weight); known: AIPerf"),
    ],
)
def test_bad_results_are_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.json").write_text("TTFT 5 ms")
    Path("cut.json").write_text(json.dumps(BENCH)[:80])
    Path("broken.json").write_text(json.dumps([{"arrival_s": 0.0, "token_times_s": [2.0, 1.0]}]))
    nan = {key: value[:1] if isinstance(value, list) else value for key, value in BENCH.items()}
    Path("nan.json").write_text(json.dumps(nan | {"itls": [[0.25, float("nan")]]}))
    Path("strange.json").write_text('{"colour": "blue", "weight": 3}')

    assert main(["score", *arguments]) == 2
    captured = capsys.readouterr()

    assert captured.out == ""
    assert says in captured.err
    assert captured.err.count("\n") == 1
