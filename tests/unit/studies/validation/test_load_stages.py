"""Aggregates by stage: what is read, what is refused, and constants found again in stages that they made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.latency.hardware import HostTimes
from llmsim.scenario import load_scenario
from llmsim.studies.validation.cases import vllm_0151
from llmsim.studies.validation.load_stages import Stage, aggregates, asked_stages, read_stages
from llmsim.studies.validation.replay import Latencies
from llmsim.studies.validation.stage_fit import StagedEngine

TRUE = {"serial_step_s": 0.0006, "serial_sequence_s": 0.00002, "request_s": 0.004}
HEAD = "rate_per_s,requests,ttft_mean_s,e2e_p99_s\n"


def test_aggregates_are_means_and_numpys_percentiles() -> None:
    ttft_s, e2e_s = np.arange(101.0), 100.0 + np.arange(101.0)
    seen = Latencies.of(ttft_s, e2e_s, np.full(101, 11))
    names = ("ttft_mean_s", "ttft_p90_s", "ttft_p99.5_s", "tpot_mean_s", "e2e_p99_s")
    assert aggregates(seen, names).tolist() == [50, 90, 99.5, 10, 199]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run,gpu\na,b\n", "has no column rate_per_s, requests; expected rate_per_s, requests"),
        ("rate_per_s,requests\n1,2\n", "has no statistics; expected columns such as ttft_mean_s"),
        (HEAD + "1,10,0.1,x\n", "line 2: e2e_p99_s = x, expected a number above 0"),
        (HEAD + "1,10,0.1,1\n-2,10,0.1,1\n", "line 3: rate_per_s = -2, expected a number above 0"),
    ],
)
def test_a_bad_table_is_one_line_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "stages.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_stages(path)
    with pytest.raises(InputError, match="No such file"):
        read_stages(tmp_path / "none.csv")


def test_the_stages_of_a_run_are_in_order_and_runs_are_asked_for_by_number(tmp_path: Path) -> None:
    path = tmp_path / "stages.csv"
    path.write_text("run,stage," + HEAD + "b,0,1,10,0.1,1\na,1,4,40,0.2,2\na,0,2,20,0.3,3\n")
    with pytest.raises(InputError, match=r"stages of 2 runs .1: a, 2: b.; say which: --run 1 to --run 2"):
        asked_stages(path, None)
    with pytest.raises(InputError, match="--run 3: expected 1 to 2"):
        asked_stages(path, 3)

    found = asked_stages(path, 1)
    assert found is not None
    assert [(one.name, one.duration_s, one.measured["e2e_p99_s"]) for one in found] == [
        ("a at 2/s", 10.0, 3.0),
        ("a at 4/s", 10.0, 2.0),
    ]


def summary(path: Path, **changes: object) -> Path:
    """What ``vllm bench serve --save-result`` writes without details."""
    run = {"backend": "vllm", "model_id": "m", "num_prompts": 50, "request_rate": 2.0, "burstiness": 1.0}
    run |= {"max_concurrency": None, "duration": 25.0, "completed": 50, "total_input_tokens": 500}
    run |= {"total_output_tokens": 400, "request_throughput": 2.0, "output_throughput": 16.0}
    run |= {"total_token_throughput": 36.0, "mean_ttft_ms": 40.0, "median_ttft_ms": 39.0, "p99_ttft_ms": 70.0}
    run |= {"mean_tpot_ms": 12.0, "mean_itl_ms": 12.0, "mean_e2el_ms": 130.0}
    path.write_text(json.dumps(run | changes))
    return path


def test_a_benchmarks_summary_is_a_stage(tmp_path: Path) -> None:
    found = asked_stages(summary(tmp_path / "run.json"), None)

    assert found is not None
    assert [(one.rate_per_s, one.requests) for one in found] == [(2.0, 50)]
    assert found[0].measured == pytest.approx(
        {"ttft_mean_s": 0.04, "ttft_p50_s": 0.039, "ttft_p99_s": 0.07, "tpot_mean_s": 0.012, "e2e_mean_s": 0.13}
    )
    with pytest.raises(
        InputError, match=r"closed\.json: vLLM.*: a summary without a rate; expected its requests per second"
    ):
        asked_stages(summary(tmp_path / "closed.json", request_rate="inf", max_concurrency=8), None)


def test_requests_one_by_one_are_no_stages(tmp_path: Path) -> None:
    details = {
        "ttfts": [0.1],
        "itls": [[0.01]],
        "output_lens": [2],
        "input_lens": [5],
        "start_times": [0.0],
        "errors": [""],
    }
    assert asked_stages(summary(tmp_path / "run.json", **details), None) is None
    path = tmp_path / "requests.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens,ttft_s,e2e_s\n0,5,2,0.1,0.2\n")
    assert asked_stages(path, None) is None


def test_stages_need_drawn_requests_at_a_rate() -> None:
    closed = load_scenario("quickstart", ['workload.arrivals={process="closed",concurrency=4}'])
    with pytest.raises(
        InputError, match=r"workload\.arrivals: stages have rates of their own; expected drawn requests"
    ):
        StagedEngine(closed, (Stage("a", 1.0, 5, {"ttft_mean_s": 0.1}),)).requests(0)


def test_requests_come_at_the_rates_of_the_stages() -> None:
    stages = (Stage("a", 2.0, 400, {"ttft_mean_s": 0.1}), Stage("a", 20.0, 4000, {"ttft_mean_s": 0.1}))
    drawn = StagedEngine(load_scenario("vllm_0151"), stages).requests(0)

    assert len(drawn) == 4400
    assert drawn.arrival_s[399] == pytest.approx(200)  # stretched, as vLLM's benchmark does it
    assert drawn.arrival_s[-1] == pytest.approx(400)
    assert (np.diff(drawn.arrival_s) >= 0).all()
    assert set(drawn.prompt_tokens) == {547}


def test_constants_that_made_the_stages_are_found() -> None:
    """Two stages of the case, shorter, made with known constants."""
    stages = [
        Stage("made", rate, int(25 * rate), dict.fromkeys(vllm_0151.AGGREGATES, 1.0), "h100-sxm-80gb", "llama-3.1-8b")
        for rate in (8.0, 20.0)
    ]
    made = vllm_0151.served(stages, HostTimes(**TRUE))
    measured = [
        replace(stage, measured=dict(zip(vllm_0151.AGGREGATES, row, strict=True)))
        for stage, row in zip(stages, made, strict=True)
    ]
    found = vllm_0151.fitted_host(measured)
    for name, value in TRUE.items():
        assert getattr(found, name) == pytest.approx(value, rel=0.1), name
