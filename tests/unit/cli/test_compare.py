from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llmsim.cli import main
from llmsim.reports.tables.compare_tables import verdict_text
from llmsim.statistics import Interval
from llmsim.studies.compare import Difference
from small_scenario import small

FILE = small("little", 60)


@pytest.fixture
def little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "little.toml").write_text(FILE)
    return "little.toml"


@pytest.mark.draws
def test_compare_prints_tables_and_keeps_files(little: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", little, "--schedulers", "fcfs,static", "--seeds", "3"]) == 0
    out = capsys.readouterr().out

    assert "B (static) against A (fcfs)" in out
    assert "over seeds" in out
    assert "P99s withheld" in out
    names = {file.name for file in Path("results/little-compare").iterdir()}
    tables = {"differences.parquet", "runs.parquet", "groups.parquet", "requests.parquet"}
    assert names == tables | {"compare.json", "seal.json", "differences.png", "who_pays.png", "most_changed.png"}


def test_no_cell_is_cut_at_80_columns(
    little: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    slow = ["--set", "workload.lengths.output_tokens=400"]
    assert main(["compare", little, "--schedulers", "chunked_prefill,static", "--seeds", "2", "--force", *slow]) == 0
    out = capsys.readouterr().out

    assert "…" not in out
    assert " x " in out
    assert "; x: B over A" in out


def test_exit_code_says_whether_a_condition_failed(little: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["compare", little, "--schedulers", "fcfs,static", "--json"]

    assert main([*asked, "--fail-if", "e2e_s.mean > +5%"]) == 1
    failed = json.loads(capsys.readouterr().out)
    assert failed["failed"] is True
    assert failed["conditions"][0]["side"] == "B (static)"
    assert main([*asked, "--fail-if", "e2e_s.mean > +1000%"]) == 0
    assert json.loads(capsys.readouterr().out)["failed"] is False
    assert main([*asked, "--fail-if", "ttft_s.p99 > +1000%"]) == 3, "60 requests have no P99"
    assert main([*asked, "--fail-if", "ttft_s.p99 > +1000%", "--force"]) == 0
    assert not Path("results").exists()


def test_what_a_pull_request_and_a_ci_read(little: str, tmp_path: Path) -> None:
    asked = ["compare", little, "--schedulers", "fcfs,static", "--out", str(tmp_path / "x")]
    conditions = ["e2e_s.mean > +5%", "e2e_s.mean > +1000%", "ttft_s.p99 > +1000%"]
    files = ["--markdown", str(tmp_path / "said.md"), "--junit", str(tmp_path / "said.xml")]
    assert main([*asked, *files, *(word for one in conditions for word in ("--fail-if", one))]) == 1
    said = (tmp_path / "said.md").read_text()
    suite = ElementTree.parse(tmp_path / "said.xml").getroot()

    assert "### B (static) against A (fcfs)" in said
    assert "| mean E2E, ms | " in said
    assert [line[4:10] for line in said.splitlines() if line.startswith("* **")] == ["FAILED", "passed", "could "]
    assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "3", "failures": "1", "errors": "1",
    }  # fmt: skip
    assert [[child.tag for child in case] for case in suite] == [["failure"], ["system-out"], ["error"]]


def test_a_baseline_is_run_once_and_says_the_same(little: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Two stored runs as the first side, in any order, and both sides run anew: the same differences."""
    for seed in ("1", "0"):
        stored = ["run", little, "--scheduler", "fcfs", "--set", f"seed={seed}", "--out", f"base{seed}", "--force"]
        assert main(stored) == 0
    capsys.readouterr()
    asked = ["compare", little, "--schedulers", "static", "--baseline", "base1", "--baseline", "base0"]
    assert main([*asked, "--force", "--json"]) == 0
    held = json.loads(capsys.readouterr().out)
    assert main(["compare", little, "--schedulers", "fcfs,static", "--seeds", "2", "--force", "--json"]) == 0
    anew = json.loads(capsys.readouterr().out)

    assert held["against"] == anew["against"]
    assert held["sides"][0]["runs"] == anew["sides"][0]["runs"]
    assert held["seeds"] == [0, 1]
    assert main(["compare", little, "--baseline", "base0", "--set", "workload.requests=50", "--json"]) == 2
    assert "a comparison needs the same requests" in capsys.readouterr().err
    assert main(["compare", little, "--baseline", "base0", "--baseline", "base0", "--json"]) == 2
    assert "a second run of seed 0" in capsys.readouterr().err


def test_forms_of_other_papers_are_compared_where_they_are_asked_for(
    little: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The numbers of `score --all`, of a stored side and of one that runs; other comparisons have none."""
    bounds = ["--set", "slo.ttft_s=0.05", "--set", "slo.tbt_s=0.02"]
    for name in ("fcfs", "static"):
        assert main(["run", little, "--scheduler", name, *bounds, "--out", name]) == 0
    capsys.readouterr()
    assert main(["score", "fcfs", "static", "--all", "--json"]) == 0
    scores = [one["forms"] for one in json.loads(capsys.readouterr().out)["results"]]
    asked = ["compare", little, "--schedulers", "static", "--baseline", "fcfs", *bounds]
    fails = ["--fail-if", "forms.aegaeon_attainment < 0"]
    assert main([*asked, *fails, "--json"]) == 1
    rows = {row["metric"]: row for row in json.loads(capsys.readouterr().out)["against"][0]["differences"]}

    assert scores[0] != scores[1]
    for name, values in zip(("first", "other"), scores, strict=True):
        assert {key: rows[f"forms.{key}"][name] for key in values} == values
    assert main(["compare", little, "--schedulers", "fcfs,static", "--all", *bounds]) == 0
    assert "Andes: mean QoE, late tokens only" in capsys.readouterr().out
    assert main([*asked, "--json"]) == 0
    assert "forms." not in capsys.readouterr().out
    lacking = ["--set", "slo.e2e_s=1", "--fail-if", "forms.jitserve_tokens_per_s < 0"]
    assert main(["compare", little, "--schedulers", "fcfs,static", *lacking]) == 2
    assert "forms.jitserve_tokens_per_s: [slo] bounds no time per token; give slo.tpot_s" in capsys.readouterr().err
    assert main([*asked, "--fail-if", "forms.andes_qeo < 0"]) == 2
    assert "did you mean 'forms.andes_qoe'?" in capsys.readouterr().err


def test_few_runs_that_all_hold_a_test_are_not_sure(little: str, capsys: pytest.CaptureFixture[str]) -> None:
    bounds = ["--set", "slo.ttft_s=0.1", "--set", "slo.tbt_s=0.02"]
    assert main(["compare", little, "--schedulers", "fcfs,static", "--seeds", "2", "--all", "--json", *bounds]) == 0
    rows = {row["metric"]: row for row in json.loads(capsys.readouterr().out)["against"][0]["differences"]}
    held, share = rows["forms.slos_serve_holds"], rows["forms.slos_serve_attainment"]

    assert (held["first"], held["other"], held["covers"]) == (1.0, 0.0, None)
    assert share["covers"] == "seeds"


@pytest.mark.parametrize(("ends", "equal"), [((-0.0002, -0.0001), True), ((0.002, 0.02), False), ((-0.02, 0.0), False)])
def test_a_sure_difference_below_the_margin_is_none(ends: tuple[float, float], equal: bool) -> None:
    """Of every KPI without a margin of its own, 1 % is noise."""
    relative = Interval(sum(ends) / 2, *ends, 0.95, 5)
    row = Difference("e2e_s.mean", -1, 1.0, 1.0 + relative.estimate, relative, relative, "seeds")

    assert row.equivalent == equal
    assert (str(verdict_text(row)) == "equal") == equal


@pytest.mark.parametrize(
    "arguments",
    [
        ["little.toml"],
        ["little.toml", "nowhere.toml"],
        ["little.toml", "little.toml", "--fail-if", "e2e.mean > 3"],
        ["little.toml", "little.toml", "--fail-if", "e2e_s.mean"],
        ["little.toml", "little.toml", "--seeds", "0"],
        ["little.toml", "quickstart"],
        ["little.toml", "--schedulers", "fcfs,sttic"],
        ["little.toml", "little.toml", "--set", "cluster.gpu=x100"],
        ["little.toml", "little.toml", "--out", "little.toml"],
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    little: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *arguments]) == 2
    said = capsys.readouterr()

    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert [file.name for file in Path().iterdir()] == [little] or not list(Path("results").iterdir())


def test_one_steady_run_a_side_has_intervals_over_requests(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--set", "workload.requests=1000", "--set", "workload.arrivals.rate_per_s=1.5"]
    assert main(["compare", "quickstart", "--schedulers", "chunked_prefill,fcfs", "--json", *few]) == 0
    said = json.loads(capsys.readouterr().out)
    rows = {row["metric"]: row for row in said["against"][0]["differences"]}

    assert said["sides"][0]["verdicts"][0]["answer"] == "steady"
    assert rows["e2e_s.mean"]["covers"] == "requests"
    assert rows["e2e_s.mean"]["interval"]["low"] > 0
    assert rows["e2e_s.p99"]["covers"] is None, "1,000 requests are too few to resample a P99"
    assert rows["tbt_s.mean"]["covers"] is None, "no statistic of single requests"


def test_three_sides_are_held_against_the_first(little: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", little, little, little, "--out", "out", "--jobs", "2"]) == 0
    out = capsys.readouterr().out

    assert "C (little.toml) against A (little.toml)" in out
    assert "equal" not in out, "one run a side shows equal estimates, not certainty"
