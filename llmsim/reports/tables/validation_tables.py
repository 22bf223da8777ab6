"""A validation as a table that a person reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from llmsim.reports.format import percent_text
from llmsim.reports.terminal import fits, plain_console, say, styled
from llmsim.studies.validation import Constant, Report
from llmsim.studies.validation.case_report import Row

#: keys of rows that are not their heads
KEY_HEADS = {"of": "statistic", "tensor_parallel_size": "TP"}
#: what all names of a column begin with is said once above it, from so many characters on
LONG_START = 10


def show_validation(report: Report, folder: Path | None, console: Console | None = None) -> None:
    """Print what was compared, every row, the targets, the worst points and the reasons."""
    console = console or plain_console()
    say(console, styled("\n", (report.case, "bold"), f"\n{report.about}\n"))
    for constant in report.fitted:
        say(console, f"fitted: {_fitted(constant)}, on {constant.fitted_on}")
    _show_rows(console, report)
    met = sum(check.passed for check in report.checks)
    console.print(styled("\n", (f"{met} of {len(report.checks)} targets met", "green" if report.passed else "red")))
    for check in report.checks:
        if not check.passed:
            say(console, f"  missed: {check.name}: {check.value:+.3g} {check.unit}, target {check.limit:g}")
    console.print("missed most:")
    for point in report.worst():
        say(
            console,
            f"  {point.group}, {point.label}: measured {point.measured:.4g} {point.unit}, "
            f"predicted {point.predicted:.4g} ({percent_text(point.error_percent)} %)",
        )
    for note in report.notes:
        say(console, f"- {note}")
    if folder is not None:
        console.print(f"picture and numbers: {folder}", soft_wrap=True)


def _fitted(constant: Constant) -> str:
    unit = "" if constant.name.endswith(f"_{constant.unit}") else f" {constant.unit}"
    return f"{constant.name} = {constant.value:.3g}{unit}"


def _show_rows(console: Console, report: Report) -> None:
    """Of rows by kind, those over all kinds: the rest is for JSON."""
    rows = [_with_unit(row) for row in report.rows if row.get("kind", "all") == "all"]
    for key, value in list(rows[0].items()):
        values = [row[key] for row in rows]
        if len(rows) > 1 and all(other == value for other in values):
            console.print(f"{_head(key)}: {value} in every row")
            rows = [{k: v for k, v in row.items() if k != key} for row in rows]
        elif start := _start(values):
            console.print(f"{_head(key)}: {start}…")
            rows = [row | {key: row[key].removeprefix(start)} for row in rows]
    table = _table(rows)
    if not fits(console, table):
        table.padding = 0
    console.print(table)


def _with_unit(row: Row) -> dict[str, Any]:
    """A row as it is shown: with its unit, where it has one of its own, beside the metric."""
    shown = {key: value for key, value in row.items() if key not in ("kind", "unit")}
    unit = "s" if "measured_s" in row else row.get("unit")
    return shown if unit is None else shown | {"metric": f"{row['metric']}, {unit.replace('requests', 'req')}"}


def _start(values: Sequence[Any]) -> str:
    """What all these names begin with, to a dash; nothing if that is short."""
    if len(values) == 1 or not all(isinstance(value, str) for value in values):
        return ""
    low, high = min(values), max(values)  # what these two share, all share
    alike = next((at for at, pair in enumerate(zip(low, high, strict=False)) if pair[0] != pair[1]), len(low))
    start = low[: low.rfind("-", 0, alike) + 1]
    return start if len(start) >= LONG_START else ""


def _table(rows: Sequence[Row]) -> Table:
    """Numbers are never cut: where a terminal is narrow, names go over two lines."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True, show_edge=False)
    for key, value in rows[0].items():
        if isinstance(value, str):
            table.add_column(_head(key), overflow="fold")
        else:
            longest = max(len(_cell(key, row[key])) for row in rows)
            table.add_column(_head(key).replace(" ", "\n"), justify="right", min_width=longest)
    for row in rows:
        table.add_row(*(_cell(key, value) for key, value in row.items()))
    return table


def _head(key: str) -> str:
    return KEY_HEADS.get(key, key.replace("_", " ").removesuffix(" s").replace("percent", "%"))


def _cell(key: str, value: Any) -> str:
    if isinstance(value, float):
        return percent_text(value) if key.endswith("error_percent") else f"{value:.3g}"
    return f"{value}"
