"""Reads the decisions of SGLang's own scheduler (peers/sglang of the evidence)."""

from __future__ import annotations

import json

from tests.places import DATA

FOLDER = DATA / "peers" / "sglang"
WORKLOADS = 46
DECODE = 3  # place in a step of those who decode: None where they are those of the step before


def peers():
    """The workloads, each with the requests that decode written out in each step."""
    files = sorted(FOLDER.glob("*.json"))
    assert len(files) == WORKLOADS
    return [read(file) for file in files]


def read(path):
    workload = json.loads(path.read_text())
    before = None
    for step in workload["steps"]:
        before = step[DECODE] = before if step[DECODE] is None else step[DECODE]
    return workload
