"""A sweep as a table that a person reads: a row for each point, means over seeds with their 95 % intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from llmsim.statistics import STEADY, Interval, mean
from llmsim.sweeping import TABLE, Swept, in_words

#: column -> head, factor from the column's unit
SHOWN = {
    "ttft_s.p99": ("TTFT p99, s", 1.0),
    "slo.attainment": ("SLO, %", 100.0),
    "smooth_goodput_tokens_per_s": ("smooth g., tok/s", 1.0),
}
#: a longer table is for the file
ROWS = 40


def show(swept: Swept, folder: Path, pictures: Sequence[Path], console: Console | None = None) -> None:
    """Print the table of a sweep, and where its files are."""
    console = console or Console(highlight=False)
    sweep = swept.sweep
    console.print(
        f"\n[bold]{_plain_text(sweep.name)}[/bold]: {len(sweep.points):,} points, {swept.ran:,} of them run now"
    )
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True)
    for field in sweep.fields:
        table.add_column(_plain_text(_narrow(field.rpartition(".")[2])), justify="right", no_wrap=True)
    for head, _ in SHOWN.values():
        table.add_column(head.replace(", ", ",\n"), justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    rows = list(groups(swept.rows, sweep.fields, len(sweep.seeds)))
    for fields, intervals, said in rows[:ROWS]:
        values = (_plain_text(in_words(value)) for value in fields.values())
        table.add_row(*values, *map(in_short, intervals.values()), said)
    console.print(table)
    if len(rows) > ROWS:
        console.print(f"and {len(rows) - ROWS:,} more rows")
    if any(row.get("prediction.oracle") for row in swept.rows):
        console.print("ORACLE: in some or all of these points policies see the true output lengths")
    if len(sweep.seeds) > 1:
        console.print(f"means over {len(sweep.seeds)} seeds ± half of the 95 % interval", style="dim")
    if any(row.get("router_reports") == "oracle" for row in swept.rows):
        console.print("reports of age 0 s: the router sees the present state (oracle)", style="dim")
    if any(said != STEADY for _, _, said in rows):
        console.print("P99s only of points whose runs are all steady; --force shows the others", style="dim")
    for file in (folder / TABLE, *pictures):
        console.print(f"  {file}", soft_wrap=True, markup=False)


def groups(
    rows: Sequence[Mapping[str, Any]], fields: Sequence[str], seeds: int
) -> Iterator[tuple[dict[str, Any], dict[str, Interval | None], str]]:
    """Yield each point: its fields, an interval over the seeds for each column shown, and the verdicts in words.

    None where a run has no such number, or withholds it: a mean of the others would be one of another question.
    """
    for i in range(0, len(rows), seeds):
        of_point = rows[i : i + seeds]
        intervals = {}
        for column, (_, factor) in SHOWN.items():
            values = [row[column] for row in of_point if row.get(column) is not None]
            intervals[column] = mean([factor * value for value in values]) if len(values) == seeds else None
        answers = Counter(row["verdict.answer"] for row in of_point)
        doubtful = {answer: n for answer, n in sorted(answers.items()) if answer != STEADY}
        said = ", ".join(answer if n == seeds else f"{n}/{seeds} {answer}" for answer, n in doubtful.items()) or STEADY
        yield {name: of_point[0][name] for name in fields}, intervals, said


def in_short(interval: Interval | None) -> str:
    """An interval in a cell, to the first digit that it is not sure of."""
    if interval is None:
        return "–"
    half = interval.half_width
    if not math.isfinite(half):
        return _digits(interval.estimate)
    decimals = min(max(0, -math.floor(math.log10(half))), 3) if half > 0 else 3
    return f"{interval.estimate:,.{decimals}f} ± {half:,.{decimals}f}"


def _narrow(name: str) -> str:
    """A long name in lines, so that its column is no wider than it needs to be."""
    lines = [""]
    for word in name.split("_"):
        if len(lines[-1]) + len(word) > 10 and lines[-1]:
            lines.append("")
        lines[-1] += f"{word}_"
    return "\n".join(lines).removesuffix("_")


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _plain_text(text: str) -> str:
    """Text in which Rich finds no markup."""
    return text.replace("[", r"\[")
