"""`validate kubecon` and `closed-loop` on made-up measurements, and their readers on what can be wrong with files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llmsim.errors import InputError
from llmsim.latency.hardware import HostTimes
from llmsim.studies.validation import Point
from llmsim.studies.validation.cases import closed_loop, kubecon
from llmsim.studies.validation.kubecon_runs import FOLDER, _read, read_stages
from llmsim.studies.validation.silicon_contradictions import contradictory, share_of_peak
from llmsim.studies.validation.silicon_runs import read_runs

SATURATING = 200.0
TRUE = HostTimes(step_s=0.001, sequence_s=3e-5, request_s=0.02, eager_step_s=0.002, max_cudagraph_capture_size=256)


def write_stage(folder: Path, number: int, rate_per_s: float, engine: kubecon.Engine | None, run: str) -> None:
    """Write a stage of 5 s as our own engine with known host times would have been measured."""
    count = int(5 * rate_per_s)
    report = {
        "load_summary": {"count": count, "requested_rate": rate_per_s},
        "successes": {
            "prompt_len": {"mean": 204.1},
            "throughput": {"requests_per_sec": rate_per_s},
            "latency": {
                "time_to_first_token": {"mean": 0.03},
                "request_latency": {"mean": 0.5},
                "inter_token_latency": {"p75": 0.01, "p95": 0.02, "p99": 0.03},
            },
        },
    }
    path = folder / f"stage_{number}_lifecycle_metrics.json"
    path.write_text(json.dumps(report))
    if engine is not None:
        stage = _read(path, run, number)
        seen = engine.serve(stage, TRUE)
        gaps_s = dict(zip(("p75", "p95", "p99"), engine.gaps_s(stage, TRUE).tolist(), strict=True))
        report["successes"]["latency"]["inter_token_latency"] = gaps_s
        report["successes"]["latency"]["time_to_first_token"]["mean"] = seen.ttft_s
        report["successes"]["latency"]["request_latency"]["mean"] = seen.e2e_s
        kept_up = rate_per_s < SATURATING
        report["successes"]["throughput"]["requests_per_sec"] = rate_per_s if kept_up else seen.requests_per_s
        path.write_text(json.dumps(report))


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    data, engine = tmp_path_factory.mktemp("data"), kubecon.Engine()
    patch = pytest.MonkeyPatch()
    patch.setattr(kubecon, "SEEDS", (1,))
    for run in kubecon.MAX_NUM_SEQS:
        folder = data / FOLDER / run
        folder.mkdir(parents=True)
        for number, rate_per_s in enumerate((1, 31, 62, 90, 20, 200, 10)):
            write_stage(folder, number, rate_per_s, engine, run)
    yield data
    patch.undo()


def test_kubecon_finds_the_host_that_made_the_runs_and_then_predicts_the_rest(made_up: Path) -> None:
    done: list[int] = []
    report = kubecon.compare(made_up, lambda part, total: done.append(part))
    fitted = {constant.name: constant.value for constant in report.fitted}

    assert fitted["host step_s"] == pytest.approx(TRUE.step_s, rel=0.1)
    assert fitted["host eager_step_s"] == pytest.approx(TRUE.eager_step_s, rel=0.1)
    assert fitted["host request_s"] == pytest.approx(TRUE.request_s, rel=0.05)
    assert report.passed
    assert done == list(range(22))
    roles = {(point.label, point.role) for point in report.points}
    assert {label for label, role in roles if role == "fitted"} == {f"seqs128 at {rate}/s" for rate in (1, 31, 62)}
    saturated = [check.name for check in report.checks if "throughput" in check.name]
    assert saturated == [name for name in saturated if "at 200/s" in name]
    assert len(saturated) == 3


def test_inference_perfs_constant_load_has_exponential_gaps_that_fill_the_stage(made_up: Path) -> None:
    stage = read_stages(made_up, "seqs128")[2]
    work = stage.workload(5)
    gaps_s = np.diff(work.arrival_s, prepend=0.0)

    assert work.arrival_s[-1] == pytest.approx(stage.requests / stage.rate_per_s)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(1.0, abs=0.15)
    assert set(work.prompt_tokens) == {204}


def test_a_stage_without_a_number_is_told_in_a_line(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER / "seqs128"
    folder.mkdir(parents=True)
    with pytest.raises(InputError, match="No such file"):
        read_stages(tmp_path, "seqs128")
    (folder / "stage_0_lifecycle_metrics.json").write_text('{"load_summary": {"count": 3}}')
    with pytest.raises(InputError, match=r"expected a number at load_summary\.requested_rate"):
        read_stages(tmp_path, "seqs128")


ROW = {
    "backend": "vllm",
    "backend_version": "1",
    "model_path": "Qwen/Qwen3-32B",
    "system": "h100_sxm",
    "mode": "agg",
    "isl": 100,
    "osl": 10,
    "gemm_quant_mode": None,
    "batch_size": 8,
    "tp_size": 2,
    "silicon_ttft_ms": 90.0,
    "silicon_tpot_ms": 10.0,
}


def write_rows(data: Path, rows: list[dict]) -> None:
    folder = data / "groundtruth/aiconfigurator_silicon"
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "silicon_refs.csv", index=False)
    pd.DataFrame(rows).to_csv(folder / "silicon_sample.csv.gz", index=False)


def test_closed_loop_runs_are_read_once_and_only_those_that_can_be_predicted(tmp_path: Path) -> None:
    others = [{"mode": "disagg"}, {"model_path": "moe"}, {"system": "gb200"}, {"gemm_quant_mode": "nvfp4"}]
    write_rows(tmp_path, [ROW, ROW | {"gemm_quant_mode": "fp8"}, *(ROW | other for other in others)])
    runs = read_runs(tmp_path)

    assert [run.group for run in runs] == ["H100 vllm qwen3-32b bf16", "H100 vllm qwen3-32b fp8"]
    assert runs[0].requests_per_s() == pytest.approx(8 / (0.090 + 9 * 0.010))
    assert runs[1].hardware()[1].quantization.dtype == "fp8"
    assert not runs[0].workload().arrival_s.any()
    assert set(runs[0].workload().prompt_tokens) == {100}


def test_runs_of_inferencemax_have_the_settings_of_its_scripts(tmp_path: Path) -> None:
    llama = {"model_path": "meta-llama/Llama-3.1-70B", "gemm_quant_mode": "fp8", "isl": 1000, "system": "h200_sxm"}
    sources = ("source_file=2026-04-06.csv", "source_file=/data/aic-auto-gap-analysis/x.csv")
    rows = [ROW | llama | {"silicon_data_source": name, "tp_size": n} for n, name in enumerate(sources, 1)]
    write_rows(tmp_path, [*rows, rows[0] | {"system": "h100_sxm"}])
    on_h100, theirs, own = read_runs(tmp_path)

    assert on_h100.hardware()[1].kv_cache_dtype == "bfloat16"  # though the script asks for fp8: its requests wait
    assert (theirs.hardware()[1].kv_cache_dtype, own.hardware()[1].kv_cache_dtype) == ("fp8", "bfloat16")
    assert (theirs.is_asynchronous, own.is_asynchronous) == (True, False)
    drawn = theirs.workload().prompt_tokens
    assert 800 <= drawn.min() < 850
    assert 950 < drawn.max() <= 1000
    assert set(own.workload().prompt_tokens) == {1000}


MINIMAX = {
    "system": "b200_sxm",
    "backend_version": "0.19.0",
    "model_path": "MiniMaxAI/MiniMax-M2.5",
    "gemm_quant_mode": "fp8",
    "moe_tp_size": 1,
}


def test_ranks_that_are_told_a_second_time_without_are_runs_without(tmp_path: Path) -> None:
    """Clients are told by rank, and GPUs twice."""
    ranks = {"tp_size": 2, "attention_dp_size": 2, "moe_ep_size": 4}
    dealt_out = {"tp_size": 2, "attention_dp_size": 1, "moe_ep_size": 2}
    rows = [dealt_out | {"batch_size": 8}, ranks | {"batch_size": 4}, ranks | {"batch_size": 256}]
    write_rows(tmp_path, [ROW | MINIMAX | row for row in rows])
    dealt, over_ranks = sorted(read_runs(tmp_path), key=lambda run: run.concurrency)

    assert (dealt.group, dealt.label) == ("B200 vllm 0.19.0 minimax-m2.5 EP", "TP2 8 x 100 + 10")
    assert (over_ranks.group, over_ranks.label) == ("B200 vllm 0.19.0 minimax-m2.5 DP", "TP1 DP2 512 x 100 + 10")
    assert over_ranks.hardware()[1].ranks == 2


def test_a_run_faster_than_its_data_sheet_is_told_and_not_compared(tmp_path: Path) -> None:
    """By hand, a step of 32 clients: keys and values 10.3 ms, 32 x 21 tokens through 7 G weights 9.5 ms (reading them
    takes 4.8), attention of 0.08 prompts 1.4 ms: 21 of 30 ms.
    """
    llama = {"model_path": "meta-llama/Llama-3.1-8B-Instruct", "isl": 8000, "osl": 400, "batch_size": 32}
    write_rows(tmp_path, [ROW | llama | {"silicon_tpot_ms": ms, "tp_size": n} for n, ms in ((1, 30.0), (2, 9.0))])
    slow, fast = read_runs(tmp_path)

    read_s, multiply_s = 32 * 8200 * 131072 / 3.35e12, 2 * 6.98e9 * 32 * 21 / 989e12
    prompts_s = 32 / 400 * 32 * 2 * 4096 * 8000**2 / 989e12
    assert share_of_peak(slow) == pytest.approx((read_s + multiply_s + prompts_s) / 0.030, rel=0.01)
    assert share_of_peak(fast) > 1
    assert list(contradictory([fast])) == ["H100 vllm llama-3.1-8b bf16"]
    assert contradictory([slow]) == {}


def test_errors_by_group_are_medians_of_absolute_errors(tmp_path: Path) -> None:
    write_rows(tmp_path, [ROW | {"batch_size": n} for n in (8, 16, 32)])
    runs = read_runs(tmp_path)
    points = [
        Point(run.group, run.label, "s", 0.01, 0.01 * (1 + e)) for run, e in zip(runs, (-0.2, 0.01, 0.1), strict=True)
    ]
    (row,) = closed_loop._rows(runs, points, [0.005] * 3)

    assert row["median_percent"] == pytest.approx(10)
    assert row["bias_error_percent"] == pytest.approx(1)
    assert row["GPU_alone_percent"] == pytest.approx(50)


def test_other_tables_are_refused(tmp_path: Path) -> None:
    write_rows(tmp_path, [{key: value for key, value in ROW.items() if key != "osl"}])
    with pytest.raises(InputError, match="has no column osl"):
        read_runs(tmp_path)
