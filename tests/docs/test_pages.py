"""What the documentation says of files, keys, columns and commands is what the code has."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pandas as pd
import pytest

import llmsim
from llmsim.cli.keys import all_keys
from llmsim.experiment import result_folder
from llmsim.metrics import catalogue
from places import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
ARCHITECTURE = DOCS / "background/architecture.md"
#: between them these runs write every table that a result may have
RUNS = {
    "autoscaling": ["workload.requests=60"],
    "disaggregated": ["workload.requests=60"],
    "quickstart": ["workload.requests=30", "delivery.policy=paced", "delivery.tbt_s=0.1"],
    "predicted_lengths": ["workload.requests=30"],
    "gateway": ["workload.requests=30", "cluster.prefix_caching=true"],
    "sessions": ["workload.requests=60"],
    "speculation": ["workload.requests=30", "speculation.acceptance_kind=random"],
}


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_life_of_a_request_has_at_most_twenty_files_and_all_are_there() -> None:
    life = ARCHITECTURE.read_text().partition("## The life of a request")[2]
    files = re.findall(r"^\d+\. `(llmsim/[^`]+)`", life, re.MULTILINE)

    assert 10 < len(files) <= 20
    assert [file for file in files if not (ROOT / file).is_file()] == []


def on_the_map() -> list[str]:
    """Names in the first column of the map."""
    table = ARCHITECTURE.read_text().partition("## Where things are")[2].partition("##")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_all_that_the_map_names_is_there() -> None:
    names = on_the_map()

    assert len(names) > 20
    assert [name for name in names if not ((ROOT / name).exists() or (ROOT / "llmsim" / name).exists())] == []


def test_the_map_names_all_that_is_there() -> None:
    named = {name.removeprefix("llmsim/").partition("/")[0] for name in on_the_map()}
    entries = {path.name for path in (ROOT / "llmsim").iterdir() if path.suffix in ("", ".py")}

    assert sorted(name for name in entries - named if not name.startswith("_")) == []


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda page: page.stem)
def test_links_between_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    written = {"scenario.md", "kpis.md", "tables.md", "cli.md"}  # by docs/generate.py

    assert [to for to in targets if Path(to).name not in written and not (page.parent / to).exists()] == []


def test_files_that_contributing_names_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:llmsim|tests|docs|scenarios|hardware_profiles|notebooks|\.ci)/[^` ]*)`", text)
    folders = [name.partition("NAME")[0].rpartition("/")[0] if "NAME" in name else name for name in named]

    assert len(named) > 30
    assert [name for name in folders if not (ROOT / name).exists()] == []


def rows_below(page: str, heading: str) -> set[str]:
    """First cells of the table below a heading, without their backticks."""
    part = page.partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", part, re.MULTILINE))


def test_every_column_of_every_stored_table_has_its_row(generate, tmp_path: Path) -> None:
    page = generate.tables_page()
    tables: dict[str, set[str]] = {}
    for name, changes in RUNS.items():
        folder = tmp_path / name
        folder.mkdir()
        result_folder.write(llmsim.run(name, changes), folder)
        for file in folder.glob("*.parquet"):
            tables.setdefault(file.name, set()).update(pd.read_parquet(file).columns)

    assert tables.keys() == generate.TABLES.keys()
    for file, columns in tables.items():
        assert columns - rows_below(page, f"## {file}") == set(), file


def test_every_number_of_every_score_has_its_row(generate) -> None:
    rows = set(re.findall(r"^\| `([^`]+)` \|", generate.kpi_page(), re.MULTILINE))
    numbers = [
        key
        for name, changes in RUNS.items()
        for key, value in catalogue.leaves(llmsim.run(name, changes).score.to_dict())
        if isinstance(value, int | float) and not isinstance(value, bool) and not key.startswith("choices.")
    ]

    assert len(set(numbers)) > 60
    assert {catalogue.kpi_of(key).key for key in numbers} <= rows


def test_every_key_has_its_row(generate) -> None:
    page = generate.scenario_page()
    rows = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)

    assert sorted(rows) == sorted(key.name for key in all_keys())


def test_every_command_has_its_section(generate, run_cli) -> None:
    page = generate.cli_page()
    said = run_cli("--help")

    for words, command in generate.commands():
        assert words.split()[0] in said
        assert f"## llmsim {words}\n" in page
        assert all(f"`{option.opts[0]}" in page for option in command.params if option.opts[0].startswith("-"))
