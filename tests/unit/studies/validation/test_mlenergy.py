"""Steady runs of ML.ENERGY's benchmark, made up, against shipped step times."""

import pandas as pd
import pytest

from llmsim.errors import InputError
from llmsim.latency.profile import load_profile
from llmsim.latency.table import StepTable
from llmsim.studies.validation.cases import mlenergy
from places import DATA, needs

ROW = {
    "model": "openai/gpt-oss-120b",
    "task": "gpqa",
    "gpu": "H100",
    "num_gpus": 1,
    "tensor_parallel": 1,
    "expert_parallel": 1,
    "avg_batch_size": 8.0,
    "output_tokens_per_s": 1.0,
    "energy_per_token_j": 1.0,
}


def step_s(batch):
    table = StepTable(load_profile("h100-sxm-80gb", "gpt-oss-120b"))
    return table.step_time_s((), batch, batch * 1200)


@pytest.fixture
def data(tmp_path):
    def write(rows):
        path = tmp_path / mlenergy.FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame([ROW | row for row in rows]).to_csv(path, index=False)
        return tmp_path

    return write


def compared(folder):
    return mlenergy.compare(folder, lambda done, total: None)


def test_a_gap_is_a_decode_step_at_the_mean_batch(data):
    gaps = [
        {"avg_batch_size": n, "median_itl_ms": 1e3 * step_s(n) / off} for n, off in ((8, 1.02), (16, 1.04), (32, 0.7))
    ]
    report = compared(data(gaps))

    assert [point.error_percent for point in report.points] == pytest.approx([2, 4, -30])
    assert [(check.value, check.passed) for check in report.checks] == [(pytest.approx(4), True)]
    assert report.rows[0]["batch"] == "8-32"


def test_a_miss_is_told(data):
    report = compared(data([{"median_itl_ms": 2e3 * step_s(8)}]))
    assert not report.passed


def test_what_has_no_step_times_or_prompts_in_most_steps_is_left_out(data):
    others = [
        {"model": "nvidia/NVIDIA-Nemotron-Nano-9B-v2"},
        {"model": "google/gemma-3-27b-it"},
        {"num_gpus": 2, "expert_parallel": 2},  # step times are of experts that both GPUs share
        {"avg_batch_size": 500.0},
        {"task": "sourcegraph-fim"},
    ]
    report = compared(data([{"median_itl_ms": 10.0}, *({"median_itl_ms": 10.0} | other for other in others)]))

    assert len(report.points) == 1
    left_out = report.notes[-1]
    assert all(name in left_out for name in ("Nemotron-Nano-9B-v2", "gemma-3-27b-it", "gpt-oss-120b on 2 x H100"))


def test_a_file_that_is_none_is_named(tmp_path):
    with pytest.raises(InputError, match=r"llm_runs\.csv: No such file"):
        compared(tmp_path)
    path = tmp_path / mlenergy.FILE
    path.parent.mkdir(parents=True)
    path.write_text("model,gpu\nx,y\n")
    with pytest.raises(InputError, match="has no column task, num_gpus"):
        compared(tmp_path)


@needs(mlenergy.FILE)
def test_mixtures_that_compose_are_within_ten_percent():
    report = compared(DATA)
    assert [check.passed for check in report.checks] == [True] * 5
    errors = {row["group"]: row["median_percent"] for row in report.rows}
    shipped = errors["qwen3-235b-a22b-fp8 on 8 x H100 EP"]  # of kernels that vLLM 0.11 did not have
    assert errors["qwen3-235b-a22b-fp8 on 8 x H100 EP, launched"] < 10 < 40 < shipped
    dense = {row["group"]: row["with_host_percent"] for row in report.rows}
    assert dense["llama-3.1-8b on 1 x H100"] < 3
    assert dense["llama-3.1-70b on 4 x H100"] < 6
