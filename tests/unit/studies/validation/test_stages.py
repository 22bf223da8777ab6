"""Aggregates by stage: what is read, what is refused, and constants found again in stages that they made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.latency.hardware import HostTimes
from llmsim.studies.validation.cases import vllm_0151
from llmsim.studies.validation.replay import Latencies
from llmsim.studies.validation.stages import AGGREGATES, COLUMNS, Stage, aggregates, read_stages

TRUE = {"serial_step_s": 0.0006, "serial_sequence_s": 0.00002, "request_s": 0.004}


def test_aggregates_are_means_and_numpys_percentiles() -> None:
    ttft_s, e2e_s = np.arange(101.0), 100.0 + np.arange(101.0)
    found = dict(zip(AGGREGATES, aggregates(Latencies.of(ttft_s, e2e_s, np.full(101, 11))), strict=True))
    assert found["ttft_mean_s"] == 50
    assert (found["ttft_p90_s"], found["ttft_p99_s"]) == (90, 99)
    assert (found["tpot_mean_s"], found["e2e_p99_s"]) == (10, 199)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run,gpu\na,b\n", "has no column model, stage"),
        (",".join(COLUMNS) + "\n" + "a,h100,m,0," + ",".join(["1"] * 9) + ",x\n", "line 2: e2e_p99_s = x, expected"),
        (",".join(COLUMNS) + "\n" + "a,h100,m,0,-2," + ",".join(["1"] * 9) + "\n", "line 2: rate_per_s = -2"),
    ],
)
def test_a_bad_table_is_one_line_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "stages.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_stages(path)
    with pytest.raises(InputError, match="No such file"):
        read_stages(tmp_path / "none.csv")


def test_constants_that_made_the_stages_are_found() -> None:
    """Two stages of the case, shorter, made with known constants."""
    blank = (0.0,) * len(AGGREGATES)
    stages = [
        Stage("made", "h100-sxm-80gb", "llama-3.1-8b", n, rate, 25.0, int(25 * rate), blank)
        for n, rate in enumerate((8.0, 20.0))
    ]
    made = vllm_0151.Engine.of(stages).serve(HostTimes(**TRUE))
    measured = [replace(stage, measured=tuple(row)) for stage, row in zip(stages, made, strict=True)]
    found = vllm_0151.fitted_host(measured)
    for name, value in TRUE.items():
        assert getattr(found, name) == pytest.approx(value, rel=0.1), name
