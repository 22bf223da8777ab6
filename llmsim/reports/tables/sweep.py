"""A sweep as a table that a person reads: a row for each point, means over seeds with their 95 % intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from llmsim.experiment import P99S_MARKED
from llmsim.reports.terminal import fits
from llmsim.statistics import STEADY, Interval, in_short, mean
from llmsim.studies.sweep import HEAT_MAPS, TABLE, Swept, in_words, narrow

#: column -> head, factor from the column's unit
SHOWN = {
    "ttft_s.p99": ("TTFT p99, s", 1.0),
    "slo.attainment": ("SLO, %", 100.0),
    "smooth_goodput_tokens_per_s": ("smooth, tok/s", 1.0),
}
#: a longer table is for the file
ROWS = 40
NO_PICTURES = "a sweep over one or two axes has them"


def show(
    swept: Swept, folder: Path, pictures: Sequence[Path], console: Console | None = None, *, force: bool = False
) -> None:
    """Print the table of a sweep, and where its files are."""
    console = console or Console(highlight=False)
    sweep = swept.sweep
    runs = f"{in_points(len(sweep.points), len(sweep.seeds))}, {swept.ran:,} of them now"
    console.print(f"\n[bold]{escape(sweep.name)}[/bold]: {runs}")
    rows = list(groups(swept.rows, sweep.fields, len(sweep.seeds)))
    table = _table(sweep.fields, rows[:ROWS], folded=False)
    if not fits(console, table):
        table = _table(sweep.fields, rows[:ROWS], folded=True)
    console.print(table)
    if len(rows) > ROWS:
        console.print(f"and {len(rows) - ROWS:,} more rows")
    _show_notes(console, swept, steady=all(said == STEADY for _, _, said in rows), force=force)
    if not pictures:
        console.print(f"no pictures: {NO_PICTURES}", style="dim")
    elif len(sweep.axes) == 2 and HEAT_MAPS not in [file.name for file in pictures]:
        console.print("no heat maps: an axis has more values than could be read", style="dim")
    for file in (folder / TABLE, *pictures):
        console.print(f"  {file}", soft_wrap=True, markup=False)


def _table(
    fields: Sequence[str], rows: Sequence[tuple[dict[str, Any], dict[str, Interval | None], str]], *, folded: bool
) -> Table:
    """A row for each point; `folded` breaks long words of the axes where they may be broken."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True, show_edge=False, pad_edge=False)
    for head in heads(fields):
        table.add_column(escape(narrow(head)), justify="right", overflow="fold")
    for head, _ in SHOWN.values():
        table.add_column(head.replace(" ", "\n", 1), justify="right", no_wrap=True, overflow="fold")
    table.add_column("verdict", overflow="fold")
    for of_point, intervals, said in rows:
        words = map(in_words, of_point.values())
        values = (escape(narrow(word) if folded else word) for word in words)
        table.add_row(*values, *cells(intervals, said), said.replace(", ", ",\n"))
    return table


def _show_notes(console: Console, swept: Swept, *, steady: bool, force: bool) -> None:
    """Say what the numbers of the table stand for."""
    if any(row.get("prediction.oracle") for row in swept.rows):
        console.print("ORACLE: in some or all of these points policies see the true output lengths")
    if len(swept.sweep.seeds) > 1:
        console.print(f"means over {len(swept.sweep.seeds)} seeds ± half of the 95 % interval", style="dim")
    if any(row.get("router_reports") == "oracle" for row in swept.rows):
        console.print("reports of age 0 s: the router sees the present state (oracle)", style="dim")
    if not steady and force:
        console.print(f"{P99S_MARKED}: not all runs of these points are steady")
    elif not steady:
        console.print("P99s only of points whose runs are all steady; --force shows the others", style="dim")


def in_points(runs: int, seeds: int) -> str:
    """How many points a sweep has, and runs; a point is run with each seed."""
    points, each, all_of_them = (
        f"{n:,} {word}{'' if n == 1 else 's'}" for n, word in ((runs // seeds, "point"), (seeds, "seed"), (runs, "run"))
    )
    return f"{points} x {each}: {all_of_them}"


def heads(fields: Sequence[str]) -> list[str]:
    """Short names of fields: as many last parts as tell them apart, without `name`, which says nothing alone."""
    parts = [field.removesuffix(".name").split(".") for field in fields]
    found = []
    for own in parts:
        tails = (own[-n:] for n in range(1, len(own) + 1))
        found.append(".".join(next((t for t in tails if sum(p[-len(t) :] == t for p in parts) == 1), own)))
    return found


def cells(intervals: Mapping[str, Interval | None], said: str) -> list[str]:
    """The intervals of a point in short; a P99 that is shown though not all of its runs are steady is marked."""
    return [
        f"{in_short(one)}{'*' if said != STEADY and one is not None and column.endswith('.p99') else ''}"
        for column, one in intervals.items()
    ]


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
