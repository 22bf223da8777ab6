"""Pages of comparisons, audits and validations say what their tables say."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmsim.cli import main
from llmsim.reports.page import page
from llmsim.studies.validation.case_report import Check, Constant, Point, Report
from llmsim.studies.validation.report_folder import question_of, write
from small_scenario import small

SMALL = small("small")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(SMALL)
    return "small.toml"


def test_the_page_of_a_comparison(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    condition = ["--fail-if", "e2e_s.mean > +5%"]
    assert main(["compare", small, "--schedulers", "fcfs,static", "--out", "x", *condition]) == 1
    printed = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("mean E2E, ms"))
    text = page(Path("x"))

    row = text.partition(">mean E2E, ms</td>")[2].partition("</tr>")[0]
    assert [part in row for part in printed[3:]] == [True] * len(printed[3:])
    assert "<b>Failed</b>: e2e_s.mean &gt; +5%, B (static)" in text
    assert "B (static) against A (fcfs)" in text
    assert text.count("<img ") == 3


def test_the_page_of_an_audit(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", small, "--out", "x"]) == 0
    sentence = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Dropping each request"))
    text = page(Path("x"))

    assert f"<li>{sentence}</li>" in text
    assert ">mean TPOT, ms</td>" in text
    assert text.count("<img ") == 1


def test_the_page_of_a_validation(tmp_path: Path) -> None:
    points = (Point("E2E", "4/s", "s", 2.0, 2.1), Point("E2E", "8/s", "s", 3.0, 3.9))
    checks = (Check("mean E2E", 17.5, 5.0), Check("mean TPOT", 1.0, 5.0))
    rows = ({"metric": "E2E", "measured_s": 2.0, "predicted_s": 2.1},)
    report = Report("a case", "about it", points, checks, rows, (Constant("a", 1.5, "ms", "that"),), ("because",))
    write(report, tmp_path, question_of(tmp_path, case="a case"))
    text = page(tmp_path)

    assert "1 of 2 targets met." in text
    assert '>E2E: 8/s</td><td class="n">3 s</td><td class="n">3.9 s</td><td class="n">+30.0</td>' in text
    assert "1.5 ms, on that" in text
    assert "because" in text
