"""The case `distserve-disaggregated` on runs that are made up by hand: what it compares, and what it says of misses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmsim.errors import InputError
from llmsim.studies.validation import Report, validate
from llmsim.studies.validation.cases.distserve_disaggregated import LINK, RAY_CALL_S, RUNS

#: prefill of p tokens: 20 ms + p x 0.1 ms; a decode step: 30 ms, whatever is in it
PROFILE = {
    "prefill": [20.0, 0.1, 0.0],
    "decoding_smallbs": [30.0, 0.0, 0.0],
    "decoding_largebs": [30.0, 0.0, 0.0],
    "decoding_large_small_bs_threshold": 95,
}
PROMPT, OUTPUT = 100, 11
TTFT_S = 0.020 + 100 * 0.1e-3 + RAY_CALL_S
TRANSFER_S = 100 * 819_200 / (600 * 2**30) + LINK.latency_s
TPOT_S = (TRANSFER_S + 10 * (0.030 + RAY_CALL_S)) / 10


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two requests a run, 10 s apart: each alone on both instances."""
    profiles = tmp_path / "profiles/distserve"
    profiles.mkdir(parents=True)
    (profiles / "profiler-a100-80g.distserve.json").write_text(
        json.dumps({"facebook/opt-13b": {"1": PROFILE, "2": PROFILE}})
    )
    rows = "facebook/opt-13b,1,1,8000\nfacebook/opt-13b,2,1,16000\n"
    (profiles / "max_num_tokens.csv").write_text(f"model,tp,pp,max_num_tokens\n{rows}")
    for name in RUNS:
        write_run(tmp_path, name, TPOT_S if float(name.rpartition("-")[2]) < 6 else 0.2)
    return tmp_path


def write_run(data: Path, name: str, tpot_s: float) -> None:
    lengths = {"prompt_len": PROMPT, "output_len": OUTPUT}
    asked = [lengths | {"start_time": at_s} for at_s in (0.0, 10.0)]
    got = [
        lengths | {"issue_time": at_s, "first_token_time": at_s + TTFT_S, "complete_time": at_s + TTFT_S + 10 * tpot_s}
        for at_s in (0.0, 10.0)
    ]
    for part, text in (("workload", json.dumps(asked)), ("measured", repr(got))):
        path = data / "groundtruth/distserve_opt13b_a100" / part / f"{name}.exp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def points(report: Report, group: str) -> dict[str, float]:
    return {point.label: point.predicted for point in report.points if point.group == group}


def test_a_lone_request_takes_what_the_published_constants_say(data: Path) -> None:
    report = validate("distserve-disaggregated", data)

    assert points(report, "mean TTFT") == pytest.approx(dict.fromkeys(RUNS, TTFT_S))
    assert points(report, "mean TPOT") == pytest.approx(dict.fromkeys(RUNS, TPOT_S))
    assert points(report, "mean E2E") == pytest.approx(dict.fromkeys(RUNS, TTFT_S + 10 * TPOT_S))
    assert not report.fitted


def test_targets_are_those_below_the_knee_and_a_knee_that_is_missed_is_a_miss(data: Path) -> None:
    report = validate("distserve-disaggregated", data)

    assert [check.passed for check in report.checks] == [True] * 9 + [False]
    assert report.checks[-1].name == "knee, measured at 6/s"
    assert report.checks[-1].value == float("inf")


def test_the_misses_come_with_their_evidence(data: Path) -> None:
    write_run(data, "distserve-c21d11-300-6", 0.09)
    report = validate("distserve-disaggregated", data)

    off = 100 * (0.35 + TRANSFER_S - 0.05) / (10 * TPOT_S) - 100
    assert f"would be off by {off:+.0f}, {off:+.0f}, {off:+.0f} %" in report.notes[0]
    assert f"{100 * 2 * TRANSFER_S / 10:.1f}, " in report.notes[1]
    assert "exceeded it: distserve-c21d11-300-6 (TTFT, TPOT, E2E off by" in report.notes[2]
    assert f"mean TPOT (200 ms measured, {1e3 * TPOT_S:.0f} ms predicted;" in report.notes[3]


def test_a_profile_without_tp_2_is_told(data: Path) -> None:
    path = data / "profiles/distserve/profiler-a100-80g.distserve.json"
    path.write_text(json.dumps({"facebook/opt-13b": {"1": PROFILE}}))

    with pytest.raises(InputError, match="no entry '2'"):
        validate("distserve-disaggregated", data)


def test_capacities_without_tp_2_are_told(data: Path) -> None:
    path = data / "profiles/distserve/max_num_tokens.csv"
    path.write_text("model,tp,pp,max_num_tokens\nfacebook/opt-13b,1,1,8000\n")

    with pytest.raises(InputError, match="with tp = 2, pp = 1, found 0"):
        validate("distserve-disaggregated", data)
