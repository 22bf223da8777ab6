"""Each notebook runs from a clean kernel, without an error or a warning, and says what is kept in its file."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from places import ROOT

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NAMES = [
    "1_first_run",
    "2_two_paradoxes",
    "3_paper_figures",
    "4_write_a_scheduler",
    "5_capacity_planning",
    "6_speculation",
]
MOST_BYTES = 400_000


def check(file):
    for package in ("nbclient", "ipykernel"):
        pytest.importorskip(package, reason="needs the extra: pip install -e '.[notebooks]'")
    command = (sys.executable, str(FOLDER / "execute.py"), "--check", str(file))
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_there_are_six():
    if not FOLDER.is_dir():
        pytest.skip("no notebooks beside these tests")

    assert [file.stem for file in NOTEBOOKS] == NAMES


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs_and_says_what_is_kept(file):
    done = check(file)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_is_kept_executed_and_small(file):
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]

    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell["outputs"])
    assert file.stat().st_size < MOST_BYTES


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("print(2)", "+cell 0: 2"),
        ("import sys; print(1, file=sys.stderr)", "wrote to stderr"),
    ],
)
def test_a_notebook_that_fails_lies_or_warns_is_found(tmp_path, source, message):
    output = {"output_type": "stream", "name": "stdout", "text": "1\n"}
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": 1, "source": source, "outputs": [output]}
    file = tmp_path / "wrong.ipynb"
    file.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}))
    done = check(file)

    assert done.returncode == 1
    assert message in done.stdout + done.stderr
