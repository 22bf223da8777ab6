"""README's first table says what the runs that it names give."""

from __future__ import annotations

import re

import pytest

import llmsim
from places import ROOT

ROW = re.compile(r"^\| `(static|fcfs|chunked_prefill)` [^|]*\|(.*)\|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("scheduler", "shown"), ROWS, ids=[scheduler for scheduler, _ in ROWS])
def test_a_row_says_what_its_run_gives(scheduler: str, shown: str) -> None:
    score = llmsim.run("quickstart", [f"scheduler.name={scheduler}"]).score
    overloaded = score["verdict"]["answer"] == "overloaded"
    tails = [] if overloaded else [score["ttft_s"]["p99"], 1000 * score["tbt_s"]["p99"]]
    slo = score["slo"]
    goodputs = slo["goodput_tokens_per_s"], score["smooth_goodput_tokens_per_s"]
    expected = [score["ttft_s"]["p50"], *tails, 100 * slo["attainment"], *goodputs]

    assert ("overloaded" in shown) == overloaded
    numbers = re.findall(r"\d+(?:\.\d+)?", shown)
    assert numbers == [
        f"{value:.{len(text.partition('.')[2])}f}" for value, text in zip(expected, numbers, strict=True)
    ]


def test_all_rows_are_looked_at() -> None:
    assert len(ROWS) == 3
