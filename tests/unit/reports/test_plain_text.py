"""Names are printed as they are: brackets and colons mean something to Rich, and nothing to us."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from llmsim.reports.terminal import plain_console, say, styled
from places import ROOT

ODD = ("a[/b]", "[bold]x", "x[link=", ":warning:", "\\[red]", "[/]")


@pytest.mark.parametrize("name", ODD)
def test_a_console_prints_names_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = plain_console()
    table = Table(title=name)
    table.add_column(name)
    table.add_row(name)
    console.print(table)
    say(console, name)
    say(console, styled((name, "bold")))

    assert capsys.readouterr().out.count(name) == 5


@pytest.mark.parametrize("name", ODD[:3])
def test_commands_print_names_as_they_are(name: str, tmp_path: Path, run_cli: Callable[..., str]) -> None:
    small = ("--set", "workload.requests=9", "--set", f"name='{name}'")
    classes = ("--set", f"workload.classes=[{{name='{name}', weight=1}}]")

    assert run_cli("run", "quickstart", *small, *classes, "--out", tmp_path / "run").count(name) >= 2
    assert name in run_cli("score", tmp_path / "run")


def test_styles_are_put_around_text_and_never_written_into_it() -> None:
    """What would be markup is found in no module: consoles of ours show it as it stands."""
    markup = re.compile(r"\[/?(bold|dim|red|green|yellow)\]")
    files = [
        file for room in ("reports", "figures", "cli", "studies") for file in (ROOT / "llmsim" / room).rglob("*.py")
    ]
    assert files
    assert [file.name for file in files if markup.search(file.read_text(encoding="utf-8"))] == []
    consoles = [file.name for file in files if re.search(r"\bConsole\((?!stderr)", file.read_text(encoding="utf-8"))]
    assert consoles == ["terminal.py"]


def test_styles_reach_a_terminal() -> None:
    out = io.StringIO()
    Console(file=out, force_terminal=True, markup=False).print(styled(("worse", "red")))
    assert "\x1b[31mworse" in out.getvalue()
