"""Result files of users that once went wrong: what each tells, worked out from the file itself without our readers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from llmsim.cli import main
from tests.places import case


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_a_burst_has_the_makespan_for_its_window(capsys):
    file = case("01-score-request-rate-inf/vllm.json")
    run = json.loads(file.read_text())
    good = sum(ttft <= 1.0 for ttft in run["ttfts"])

    found = as_json(capsys, "score", str(file), "--ttft-s", "1")

    assert found["choices"]["window"]["kind"] == "makespan"
    assert found["requests_per_s"] == pytest.approx(run["request_throughput"]) == pytest.approx(19.18, abs=0.01)
    assert found["output_tokens_per_s"] == pytest.approx(run["output_throughput"])
    assert (
        found["slo"]["goodput_requests_per_s"] == pytest.approx(good / run["duration"]) == pytest.approx(1.63, abs=0.01)
    )
    assert not any("why" in one for one in found["printed"].values())


def test_a_chunk_with_the_role_is_not_a_token(capsys):
    found = as_json(capsys, "score", str(case("03-vllm-openai-chat/vllm.json")))

    assert found["output_tokens"] == 15
    assert found["ttft_s"]["p50"] == pytest.approx(0.1)
    assert found["e2e_s"]["p50"] == pytest.approx(0.1 + 0.0002 + 4 * 0.02)
    assert (found["tbt_s"]["n"], found["tbt_s"]["p50"]) == (12, pytest.approx(0.02))
    assert "chunk without text before each answer" in found["notes"][0]


def test_a_file_of_several_runs(capsys):
    file = str(case("05-several-runs-in-a-file/sglang.jsonl"))

    every, second = as_json(capsys, "score", file)["results"], as_json(capsys, "score", file, "--run", "2")

    assert len(every) == 2
    assert every[1] == second
    assert every == as_json(capsys, "score", file, "--run", "all")["results"]
    assert "--run 3: expected 1 to 2" in refused(capsys, "score", file, "--run", "3")
    assert "--run 1 to --run 2" in refused(capsys, "validate", file, "--scenario", "quickstart")
    assert "--run 1 to --run 2" in refused(capsys, "audit", file, "--ttft-s", "1")
    both = as_json(capsys, "audit", file, "--ttft-s", "1", "--tbt-s", "1", "--run", "all")["audits"]
    assert [one["name"][-10:] for one in both] == ["run 1 of 2", "run 2 of 2"]
    reports = as_json(capsys, "validate", file, "--scenario", "quickstart", "--run", "all", "--assume-sends")["reports"]
    assert len(reports) == 2


def test_records_of_aiperf(capsys):
    found = as_json(capsys, "score", str(case("06-aiperf-records/profile_export.jsonl")))

    assert found["requests"]["finished"] == 4
    assert found["output_tokens"] == 36
    assert found["ttft_s"]["mean"] == pytest.approx(0.2558)
    assert found["e2e_s"]["mean"] == pytest.approx(0.2975)
    assert found["tbt_s"]["p99"] == pytest.approx(0.0052)
    assert found["tpot_s"]["mean"] == pytest.approx((0.2975 - 0.2558) / 8)
    assert found["requests_per_s"] == pytest.approx(4 / (1.5 + 0.2975))


@pytest.mark.parametrize(
    ("name", "tool", "printed"),
    [
        ("trtllm", "TensorRT-LLM trtllm-bench", {"requests_per_s": 10.2, "ttft_s.mean": 0.2558}),
        ("aiperf", "AIPerf", {"ttft_s.mean": 0.0287}),
        ("iperf", "inference-perf", {"e2e_s.mean": 0.48, "requests.finished": 60}),
    ],
)
def test_summaries_of_other_tools(name, tool, printed, capsys):
    found = as_json(capsys, "score", str(case(f"07-other-tools-misnamed/{name}.json")))

    assert tool in found["choices"]["times"]
    assert {key: one["tool"] for key, one in found["printed"].items()} == pytest.approx(printed)
    assert "its requests are in" in found["notes"][-1] or "saves its requests" in found["notes"][-1]


def test_requests_of_llmperf_and_an_empty_file_of_guidellm(capsys):
    found = as_json(capsys, "score", str(case("07-other-tools-misnamed/llmperf.json")))

    assert (found["ttft_s"]["mean"], found["e2e_s"]["mean"]) == (0.25, 0.29)
    assert found["tpot_s"]["mean"] == pytest.approx(0.04 / 8)
    assert (found["tbt_s"], found["requests_per_s"]) == (None, None)
    assert "GuideLLM, with neither" in refused(capsys, "score", str(case("07-other-tools-misnamed/guidellm.json")))


def test_a_sweep_of_vllm_without_details(capsys):
    file = str(case("08-vllm-sweep-summary/summary.json"))

    found = as_json(capsys, "score", file)["results"]

    assert [one["printed"]["ttft_s.mean"]["tool"] for one in found] == pytest.approx([0.2172, 0.0449])
    assert all("--save-detailed" in one["notes"][-1] for one in found)
    assert "--save-detailed" in refused(capsys, "validate", file, "--scenario", "quickstart", "--run", "1")


def test_a_closed_loop_is_sent_again_as_one(capsys):
    file = case("17-closed-loop-run-replayed-open/vllm.json")

    found = as_json(capsys, "validate", str(file), "--scenario", "quickstart")

    assert "as a closed loop of 64" in found["about"]
    rows = {(row["metric"], row["of"]): row for row in found["rows"]}
    # 64 under way, N / E2E a second (Little), on any engine; at fixed times TTFT was 22 s, as the queue grew and grew
    predicted = {name: rows[(name, "mean")]["predicted"] for name in ("E2E", "TTFT", "throughput")}
    assert predicted["throughput"] * predicted["E2E"] == pytest.approx(64, rel=0.06)
    assert predicted["TTFT"] < 1.0


def test_every_request_rejected_is_not_steady(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = [
        "workload.requests=400",
        'workload.lengths={source="fixed",prompt_tokens=9000,output_tokens=2000}',
        "cluster.max_model_len=8192",
    ]
    arguments = ["run", "quickstart", *(part for change in changes for part in ("--set", change))]

    found = as_json(capsys, *arguments)
    assert main([*arguments, "--out", "out"]) == 0
    shown = " ".join(capsys.readouterr().out.split())

    assert found["verdict"]["answer"] == "nothing served"
    assert found["reasons"] == [
        {"reason": "prompt and output are 11000 tokens, max_model_len is 8192", "requests": 400}
    ]
    assert "400 because prompt and output are 11000 tokens, max_model_len is 8192" in shown
    assert "steady" not in shown
    again = as_json(capsys, "score", "out")
    assert (again["verdict"]["answer"], again["reasons"]) == ("nothing served", found["reasons"])


def test_one_throughput_in_score_and_audit_and_the_tools(capsys):
    file = case("20-audit-and-score-throughput/vllm.json")
    run = json.loads(file.read_text())

    score = as_json(capsys, "score", str(file), "--ttft-s", "1")
    audit = as_json(capsys, "audit", str(file), "--ttft-s", "1", "--pace-s", "0.2")
    within = ("--window", "arrivals")
    of_arrivals = as_json(capsys, "score", str(file), "--ttft-s", "1", *within)["output_tokens_per_s"]
    audited = as_json(capsys, "audit", str(file), "--ttft-s", "1", "--pace-s", "0.2", *within)["metrics"][0]["as_is"]

    assert score["output_tokens_per_s"] == audit["metrics"][0]["as_is"] == sum(run["output_lens"]) / run["duration"]
    tokens_s = [
        start + ttft + np.cumsum([0.0, *gaps])
        for start, ttft, gaps in zip(run["start_times"], run["ttfts"], run["itls"], strict=True)
    ]
    sent = run["start_times"]
    inside = sum(int(np.sum(times <= max(sent))) for times in tokens_s)
    assert of_arrivals == audited == pytest.approx(inside / (max(sent) - min(sent)), rel=1e-3)  # rounding: one token


def test_sglang_saves_no_send_times(capsys, tmp_path):
    file = str(case("27-validate-sglang-message/sglang.jsonl"))
    host = ("--scenario", "quickstart", "--out", str(tmp_path / "h.toml"))

    for arguments in (("validate", file, "--scenario", "quickstart"), ("profile", "from-bench", file, *host)):
        said = refused(capsys, *arguments)
        assert "SGLang bench_serving saves no send times; --assume-sends draws them" in said
        assert "vLLM" not in said
    assert "drawn" in as_json(capsys, "validate", file, "--scenario", "quickstart", "--assume-sends")["about"]
