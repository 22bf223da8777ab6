"""What README.md tells a newcomer to do works."""

from __future__ import annotations

import re

import pytest

from llmsim import discovery
from llmsim.cli import main
from llmsim.scheduler import Scheduler
from llmsim.testing import check_scheduler
from places import ROOT

README = ROOT / "README.md"


@pytest.fixture(scope="module")
def text():
    if not README.is_file():
        pytest.skip("no README.md beside these tests")
    return README.read_text(encoding="utf-8")


@pytest.fixture
def policy_file(text, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    file = tmp_path / "shortest_prompt_first.py"
    file.write_text(code)
    return file


def test_the_policy_has_about_ten_lines_and_keeps_the_contract(policy_file):
    lines = [line for line in policy_file.read_text().splitlines() if line.strip()]

    assert len(lines) <= 10
    check_scheduler(discovery.load_file(policy_file, Scheduler)())


def test_the_policy_runs_on_the_quickstart(policy_file, capsys):
    smaller = ("--set", "workload.requests=50")

    assert main(["run", "quickstart", "--scheduler-file", str(policy_file), *smaller, "--json"]) == 0


def test_links_and_pictures_are_there(text):
    for target in re.findall(r"\]\((?!http)([^)]+)\)", text):
        assert (ROOT / target).exists(), target
