"""A validation as a table that a person reads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from llmsim.validation import Report

#: columns of text where no terminal tells
PIPED_WIDTH = 140


def show(report: Report, folder: Path | None, console: Console | None = None) -> None:
    """Print what was compared, every row, the targets, the worst points and the reasons."""
    console = console or Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    console.print(f"\n[bold]{report.case}[/bold]\n{report.about}\n")
    for constant in report.fitted:
        console.print(f"fitted: {constant.name} = {constant.value:.3g} {constant.unit}, on {constant.fitted_on}")
    console.print(_rows(report))
    met = sum(check.passed for check in report.checks)
    console.print(
        f"{'[green]passed' if report.passed else '[red]not passed'}[/]: {met} of {len(report.checks)} targets"
    )
    for check in report.checks:
        if not check.passed:
            console.print(f"  missed: {check.name}: {check.value:+.3g} {check.unit}, target {check.limit:g}")
    console.print("missed most:")
    for point in report.worst():
        console.print(
            f"  {point.group}, {point.label}: measured {point.measured:.4g} {point.unit}, "
            f"predicted {point.predicted:.4g} ({point.error_percent:+.1f} %)"
        )
    for note in report.notes:
        console.print(f"- {note}", markup=False)
    if folder is not None:
        console.print(f"picture and numbers: {folder}", soft_wrap=True)


def _rows(report: Report) -> Table:
    """Of rows by kind, those over all kinds: the rest is for JSON."""
    rows = [{k: v for k, v in row.items() if k != "kind"} for row in report.rows if row.get("kind", "all") == "all"]
    table = Table(box=box.SIMPLE_HEAD)
    for key, value in rows[0].items():
        words = key.replace("_", " ").removesuffix(" s").replace("percent", "%").replace("tensor parallel size", "TP")
        table.add_column(words, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*(_cell(key, value) for key, value in row.items()))
    return table


def _cell(key: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:+.1f}" if key.endswith("error_percent") else f"{value:.3g}"
    return f"{value}"
