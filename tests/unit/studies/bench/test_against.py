from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from llmsim.cli import main
from llmsim.errors import InputError
from llmsim.studies.bench.against import Runs, Version, Versus, Work

#: another version, as far as this is concerned: the same work, or a step less, in half a second
STUB = """
from types import SimpleNamespace

def known(names):
    if names != ["fixed"]:
        raise ValueError("no such workload here")
    return names

def scenarios(names, trace, requests, *, skip):
    return {name: requests for name in names}, {}

def measure(scenario, progress):
    return SimpleNamespace(wall_s=0.5, requests=scenario, steps=STEPS, tokens=scenario * 256)
"""


def other_version(folder: Path, steps: int) -> Path:
    package = folder / "llmsim" / "bench"
    package.mkdir(parents=True)
    for init in (package.parent, package):
        (init / "__init__.py").touch()
    for module in ("suites", "measure"):
        (package / f"{module}.py").write_text(STUB.replace("STEPS", str(steps)))
    return folder


def test_a_version_is_run_beside_this_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = other_version(tmp_path, steps=7)
    command = ["bench", "fixed", "fcfs", "--requests", "50", "--repeat", "1", "--json", "--against", str(other)]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)["workloads"]

    assert found["fixed"]["other_cpu_s_of_runs"] == [0.5] * 3
    assert found["fixed"]["ratio"] == min(found["fixed"]["cpu_s_of_runs"]) / 0.5
    assert not found["fixed"]["same_work"]
    assert found["fcfs"] == {"error": "the other version: ValueError: no such workload here"}


def test_the_least_time_counts_and_work_is_compared() -> None:
    this, other = Runs([2.0, 1.0], Work(1, 2, 3)), Runs([1.5, 4.0, 2.0], Work(1, 2, 3))

    assert Versus(this, other).ratio == 1.0 / 1.5
    assert Versus(this, other).same_work
    assert not Versus(this, Runs([1.0], Work(1, 2, 4))).same_work


def test_a_version_is_a_python_a_virtual_environment_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)

    assert Version.at(tmp_path) == Version.at(tmp_path / "bin" / "python") == Version(str(tmp_path / "bin" / "python"))
    assert Version.at(other_version(tmp_path / "there", 1)).folder == str(tmp_path / "there")
    with pytest.raises(InputError, match="expected a virtual environment, a Python, or a folder that holds llmsim"):
        Version.at(tmp_path / "nothing")


def test_a_version_without_a_bench_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "llmsim").mkdir()
    (tmp_path / "llmsim" / "__init__.py").touch()
    assert main(["bench", "fixed", "--requests", "50", "--repeat", "1", "--against", str(tmp_path)]) == 2
    err = capsys.readouterr().err

    assert "there is no llmsim with a bench" in err
    assert err.count("\n") == 1


def test_only_workloads_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "scale", "--against", str(other_version(tmp_path, 1))]) == 2
    assert "'scale' is no workload" in capsys.readouterr().err
