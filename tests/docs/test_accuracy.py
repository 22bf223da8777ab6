"""Tables of how accurate we are: each has a writer, and stands as that writes it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from llmsim.studies import validation
from places import DATA, ROOT, evidence


def load(path: Path):
    spec = importlib.util.spec_from_file_location("accuracy", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


accuracy = load(ROOT / "docs/accuracy.py")
PAGES = {page.name: page.read_text(encoding="utf-8") for page in accuracy.PAGES}


def test_every_table_has_a_writer_and_every_writer_a_table():
    found = re.findall(r"<!-- accuracy: ([\w.-]+) -->", "".join(PAGES.values()))

    assert sorted(found) == sorted(accuracy.TABLES)
    assert sum(len(accuracy.BLOCK.findall(page)) for page in PAGES.values()) == len(found)


def test_step_times_stand_as_they_are_measured_today():
    evidence("profiles/iteration_times_ms.csv")
    page = PAGES["accuracy.md"]

    assert accuracy.rewritten(page, {"steps": validation.validate("steps", DATA).to_dict()}) == page


def test_only_tables_whose_reports_are_there_change():
    report = {
        "checks": [{"passed": True}, {"passed": False}],
        "rows": [{"group": "a on 1 x b", "median_percent": 1.25, "with_host_percent": 2.0, "energy_percent": 3.0}],
    }
    before = "x\n<!-- accuracy: mlenergy -->\nold\n<!-- end -->\n<!-- accuracy: steps -->\nkept\n<!-- end -->\n"
    after = accuracy.rewritten(before, {"mlenergy": report})

    assert "| a on 1 x b | 1.2 | 2.0 | 3.0 |\n\n1 of 2 targets are met.\n<!-- end -->" in after
    assert "old" not in after
    assert "kept" in after


@pytest.mark.parametrize(("value", "said"), [(3.2, "+3"), (-0.4, "0"), (0.4, "0"), (-12.6, "-13")])
def test_percentages_have_signs(value, said):
    assert accuracy.percent(value) == said
