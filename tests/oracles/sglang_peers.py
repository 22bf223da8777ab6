"""Reads the decisions of SGLang's own scheduler (peers/sglang of the evaluation data)."""

from __future__ import annotations

import json
import os
from pathlib import Path

DATA = Path(os.environ.get("LLMSIM_DATA", Path(__file__).parents[3] / "shared" / "data")) / "peers" / "sglang"
WORKLOADS = sorted(DATA.glob("*.json"))
DECODE = 3  # place in a step of those who decode: None where they are those of the step before


def read(path):
    """Return a workload, with the requests that decode written out in each step."""
    workload = json.loads(path.read_text())
    before = None
    for step in workload["steps"]:
        before = step[DECODE] = before if step[DECODE] is None else step[DECODE]
    return workload
