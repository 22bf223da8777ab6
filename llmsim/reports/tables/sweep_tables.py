"""A sweep as a table that a person reads: a row for each point, means over seeds with their 95 % intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from llmsim.experiment import P99S_MARKED
from llmsim.metrics.catalogue import kpi_of, select
from llmsim.metrics.distributions import Distributions
from llmsim.metrics.kpi import Kpi
from llmsim.reports.format import broken, interval_text, short_fields, value_text
from llmsim.reports.terminal import fits, plain_console, say, styled
from llmsim.statistics import STEADY, Interval
from llmsim.studies.plan.plan_sentences import probability_words
from llmsim.studies.sweep import HEAT_MAPS, TABLE, FinishedSweep
from llmsim.studies.sweep.cheapest import CONFIDENCE, MET, Cheapest, cheapest, usd_per_hour
from llmsim.studies.sweep.sweep_table import SweepRow, over_seeds

#: KPIs of the columns, and those for which a terminal must be wide enough
TABLE_KEYS = ("ttft_s.p99", "tbt_s.p99", "tpot_s.mean", "slo.attainment", "smooth_goodput_tokens_per_s")
WIDE_KEYS = ("tbt_s.p99", "tpot_s.mean")
#: a longer table is for the file
MOST_ROWS = 40
OVER_SEEDS = (
    "± half of the 95 % interval, or its ends where it is lopsided: shares by clusters of misses, P99s of all seeds' "
    "requests, means by Student's t; without one: runs too short, or misses too few, to say how sure"
)
NO_PICTURES = "a sweep over one or two axes has them"


def show_sweep(
    swept: FinishedSweep, folder: Path, pictures: Sequence[Path], console: Console | None = None, *, force: bool = False
) -> None:
    """Print the table of a sweep, and where its files are."""
    console = console or plain_console()
    sweep = swept.sweep
    runs = f"{in_points(len(sweep.points), len(sweep.seeds))}, {swept.ran:,} of them now"
    console.print(styled("\n", (sweep.name, "bold"), f": {runs}"))
    rows = list(points_of(swept.rows, swept.distributions, len(sweep.seeds)))
    usd = [usd_per_hour(point.scenario) for point in sweep.points[:: len(sweep.seeds)]]
    _print_table(console, sweep.fields, rows[:MOST_ROWS], usd)
    if len(rows) > MOST_ROWS:
        console.print(f"and {len(rows) - MOST_ROWS:,} more rows")
    _show_notes(console, swept, steady=all(point.verdicts == STEADY for point in rows), force=force)
    if not pictures:
        console.print(f"no pictures: {NO_PICTURES}", style="dim")
    elif len(sweep.axes) == 2 and HEAT_MAPS not in [file.name for file in pictures]:
        console.print("no heat maps: an axis has more values than could be read", style="dim")
    for file in (folder / TABLE, *pictures):
        console.print(f"  {file}", soft_wrap=True)


@dataclass(frozen=True, slots=True)
class PointRow:
    """A point of a sweep, all its seeds together: a row of the table that is shown."""

    axes: Mapping[str, Any]  #: keys of a scenario and their values
    intervals: Mapping[str, Interval | None]  #: over seeds, of each KPI shown, in the unit shown
    verdicts: str  #: of its runs, in words


def _print_table(console: Console, fields: Sequence[str], rows: Sequence[PointRow], usd: Sequence[float]) -> None:
    """Print the widest table that has room: all columns, long words of the axes broken, or fewer columns."""
    fewer = [key for key in TABLE_KEYS if key not in WIDE_KEYS]
    for keys, folded in ((TABLE_KEYS, False), (TABLE_KEYS, True), (fewer, False), (fewer, True)):
        table = _table(fields, rows, usd, keys, folded=folded)
        if fits(console, table):
            break
    console.print(table)
    if keys == fewer:
        console.print("ITL, TPOT and USD on a wider terminal, and in the folder", style="dim")


def _table(
    fields: Sequence[str], rows: Sequence[PointRow], usd: Sequence[float], keys: Sequence[str], *, folded: bool
) -> Table:
    """A row for each point; `folded` breaks long words of the axes where they may be broken."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True, show_edge=False, pad_edge=False)
    for head in short_fields(fields):
        table.add_column(broken(head), justify="right", overflow="fold")
    priced = len(keys) == len(TABLE_KEYS)
    for head in [*kpi_heads(keys), *(["USD/h"] if priced else [])]:
        table.add_column(head.replace(" ", "\n", 1), justify="right", no_wrap=True, overflow="fold")
    table.add_column("verdict", overflow="fold")
    for point, cost in zip(rows, usd, strict=False):
        words = map(value_text, point.axes.values())
        values = (broken(word) if folded else word for word in words)
        shown, verdicts = interval_cells(point, keys), point.verdicts.replace(", ", ",\n")
        table.add_row(*values, *shown, *([f"{cost:,.2f}"] if priced else []), verdicts)
    return table


def _show_notes(console: Console, swept: FinishedSweep, *, steady: bool, force: bool) -> None:
    """Say what the numbers of the table stand for."""
    if any(row.oracle for row in swept.rows):
        console.print("ORACLE: in some or all of these points policies see the true output lengths")
    if len(swept.sweep.seeds) > 1:
        say(console, f"{len(swept.sweep.seeds)} seeds; {OVER_SEEDS}", style="dim")
    if any(row.router_reports == "oracle" for row in swept.rows):
        console.print("reports of age 0 s: the router sees the present state (oracle)", style="dim")
    if not steady and force:
        console.print(f"{P99S_MARKED}: not all runs of these points are steady")
    elif not steady:
        console.print("P99s only of points whose runs are all steady; --force shows the others", style="dim")
    if not steady:
        console.print("SLO and smooth goodput of points that are not steady are of runs of this length", style="dim")
    say(console, cheapest_text(cheapest(swept.sweep.points, swept.rows, swept.moved, len(swept.sweep.seeds))))


def cheapest_text(found: Cheapest | None) -> str:
    """The sentence that a sweep ends with: which point to take."""
    met = f"P(slo.attainment >= {MET:g}) >= {CONFIDENCE:g}"
    if found is None:
        return f"no point is steady with {met}"
    axes = ", ".join(f"{name}={value_text(value)}" for name, value in found.axes.items())
    return f"cheapest with {met}: {axes}, at {found.usd_per_hour:,.2f} USD/h (P {probability_words(found.probability)})"


def in_points(runs: int, seeds: int) -> str:
    """How many points a sweep has, and runs; a point is run with each seed."""
    points, each, all_of_them = (
        f"{n:,} {word}{'' if n == 1 else 's'}" for n, word in ((runs // seeds, "point"), (seeds, "seed"), (runs, "run"))
    )
    return f"{points} x {each}: {all_of_them}"


def kpi_heads(keys: Sequence[str] = TABLE_KEYS) -> list[str]:
    """Names of the KPIs of the columns, with their units."""
    return [f"{kpi.short_name}, {_unit(kpi)}" for kpi in select(*keys)]


def _unit(kpi: Kpi) -> str:
    return kpi.shown_unit.replace("tokens", "tok")


def interval_cells(point: PointRow, keys: Sequence[str] = TABLE_KEYS) -> list[str]:
    """The intervals of a point in short; a P99 that is shown though not all of its runs are steady is marked."""
    shown = ((key, point.intervals[key]) for key in keys)
    return [
        f"{interval_text(one)}{'*' if point.verdicts != STEADY and one is not None and kpi_of(key).tail else ''}"
        for key, one in shown
    ]


def points_of(rows: Sequence[SweepRow], kept: Sequence[Distributions | None], seeds: int) -> Iterator[PointRow]:
    """Yield each point of a sweep's rows.

    No interval where a run has no such number, or withholds it: a mean of the others would be one of another question.
    """
    for i in range(0, len(rows), seeds):
        of_point = rows[i : i + seeds]
        intervals = {}
        for kpi in select(*TABLE_KEYS):
            found = over_seeds(kpi.key, of_point, kept[i : i + seeds])
            intervals[kpi.key] = None if found is None else found.times(kpi.factor)
        answers = Counter(row.verdict for row in of_point)
        doubtful = {answer: n for answer, n in sorted(answers.items()) if answer != STEADY}
        said = ", ".join(answer if n == seeds else f"{n}/{seeds} {answer}" for answer, n in doubtful.items()) or STEADY
        yield PointRow(of_point[0].axes, intervals, said)
