"""How often intervals cover, and verdicts are right, as tables that a person reads."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from llmsim.reports.terminal import plain_console, say
from llmsim.studies.validation.coverage import Covered
from llmsim.studies.validation.verdicts import Judged

#: a share of repetitions below which an interval is too rarely given for its coverage to be told
SELDOM, ALL = 0.1, 0.995
NUMBER_HEADS = {"e2e_s.mean": "mean", "e2e_s.p50": "P50", "e2e_s.p99": "P99", "smooth goodput": "smooth"} | {
    f"attainment {share}": f"att. {share}" for share in (0.99, 0.999)
}
COVERAGE_NOTE = (
    "% of the 95 % intervals that cover the known truth, and after / the % of the repetitions that have an interval, "
    "where the others are too short; –: fewer than {seldom:.0f} % have one"
)


VERDICT_NOTE = (
    "% of runs whose verdict is right, by load as a share of capacity, and after / the % whose verdict is wrong, where "
    "there are any; the others are too short to say"
)


def show_coverage(rows: Sequence[Covered], console: Console | None = None) -> None:
    """Print a row for each queue, length and number of seeds, and a column for each number."""
    console = console or plain_console()
    numbers = list(dict.fromkeys(row.number for row in rows))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True, show_edge=False)
    for head in ("queue", "load", "requests", "seeds", *(NUMBER_HEADS.get(name, name) for name in numbers)):
        table.add_column(head.replace(" ", "\n"), justify="right" if head != "queue" else "left", overflow="fold")
    for place in dict.fromkeys((row.queue, row.load, row.requests, row.seeds) for row in rows):
        cells = [_cell(row) for row in rows if (row.queue, row.load, row.requests, row.seeds) == place]
        table.add_row(place[0], _load(place[1]), f"{place[2]:,}", str(place[3]), *cells)
    console.print(table)
    say(console, f"{rows[0].repetitions} repetitions; {COVERAGE_NOTE.format(seldom=100 * SELDOM)}", style="dim")


def _load(share: float | None) -> str:
    return "its own" if share is None else f"{share:g}"


def _cell(row: Covered) -> str:
    given = row.answered / row.repetitions
    if row.coverage is None or given < SELDOM:
        return "–"
    covers = f"{100 * row.coverage:.1f}"
    return covers if given > ALL else f"{covers}/{100 * given:.0f}"


def show_verdicts(rows: Sequence[Judged], console: Console | None = None) -> None:
    """Print a row for each family and length, and a column for each load."""
    console = console or plain_console()
    loads = list(dict.fromkeys(row.load for row in rows))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True, show_edge=False)
    table.add_column("family")
    for head in ("requests", *(f"{load:g}" for load in loads)):
        table.add_column(head, justify="right")
    for family, requests in dict.fromkeys((row.family, row.requests) for row in rows if row.runs):
        mine = [row for row in rows if (row.family, row.requests) == (family, requests)]
        table.add_row(family, f"{requests:,}", *map(_right_and_wrong, mine))
    console.print(table)
    runs, wrong = sum(row.runs for row in rows), sum(row.wrong for row in rows)
    say(console, f"{VERDICT_NOTE}; in all {wrong:,} of {runs:,} runs wrong", style="dim")


def _right_and_wrong(row: Judged) -> str:
    right = f"{100 * row.right / row.runs:.0f}"
    return f"{right}/{100 * row.wrong / row.runs:.1f}" if row.wrong else right
