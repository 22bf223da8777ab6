"""A comparison in tables: every side against the first, which requests pay, and whether a condition failed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmsim.experiment import ANSWERS, P99S_MARKED, P99S_WITHHELD
from llmsim.metrics.catalogue import kpi_of, of_section, select
from llmsim.metrics.kpi import LESS
from llmsim.metrics.sections.other_forms import OtherForms, is_form
from llmsim.reports.format import NOTHING, digits_text, interval_text
from llmsim.reports.terminal import plain_console, say, styled
from llmsim.statistics import Interval
from llmsim.studies.compare import Against, Comparison, Difference, Group, Run, withheld

#: KPIs of the table on the screen, by the keys that --fail-if takes (llmsim list metrics); the folder has all
TABLE_KEYS = (
    *("ttft_s.mean", "ttft_s.p50", "ttft_s.p99", "tpot_s.mean", "tbt_s.p99", "e2e_s.mean", "e2e_s.p99"),
    *("client_queueing_s.mean", "slo.attainment", "slo.goodput_tokens_per_s", "smooth_goodput_tokens_per_s"),
    *("output_tokens_per_s", "requests.finished", "requests.abandoned", "requests.cancelled", "requests.rejected"),
    *("requests.unfinished", "wasted.computed_tokens"),
)
GROUP_PREFIXES = {
    "all": "",
    "prompt_tokens": "prompt ",
    "output_tokens": "output ",
    "arrival": "arrival ",
    "outcome": "",
}
#: relative difference, +1,000 %, from which it is shown as a factor
LARGE_CHANGE = 10.0
COVERAGE_NOTES = {
    "seeds": "95 % intervals over seeds (paired t): what other requests of the same kind would show",
    "requests": (
        "95 % intervals from blocks of requests of one run, resampled in pairs: what a run as long as this, in the "
        "same steady state, would show; --seeds gives intervals to every metric"
    ),
    None: "no intervals from this one run a side: give --seeds",
}


def show_comparison(
    comparison: Comparison, folder: Path | None, pictures: Sequence[Path] = (), *, force: bool = False
) -> None:
    """Print a comparison, and where its files are."""
    console = plain_console()
    for side, runs in comparison.sides:
        say(console, styled((side.label, "bold"), f" {side.name}: {_verdicts(runs)}"))
    for one in comparison.others:
        _show_against(console, comparison, one, force)
    for note in comparison.notes:
        say(console, styled(("Note:", "bold"), f" {note}"))
    for answer in comparison.answers:
        outcome = ("FAILED", "red") if answer.failed else "could not tell" if answer.untold else "passed"
        words = f"{answer.condition.text}, {answer.side}: {answer.words}"
        say(console, styled(outcome, f": {words}"))
    if folder is not None:
        console.print(f"tables and pictures: {folder}", soft_wrap=True)
        for file in pictures:
            console.print(f"  {file}", soft_wrap=True)


def _show_against(console: Console, comparison: Comparison, one: Against, force: bool) -> None:
    shown = list(shown_rows(one))
    say(console, styled("\n", (f"{one.side} against {comparison.first}", "bold")))
    console.print(_differences(shown, comparison.first.label, one.side.label, force))
    covers = next((d.covers for d in shown if d.covers is not None), None)
    large = any(
        d.relative is not None and d.relative.estimate >= LARGE_CHANGE for d in shown if not withheld(d, force=force)
    )
    factors = f"; x: {one.side.label} over {comparison.first.label}" if large else ""
    say(console, f"{COVERAGE_NOTES[covers]}{factors}", style="dim")
    cautions = sorted({d.caution for d in shown if d.caution})
    if cautions:
        tail = P99S_MARKED if force else P99S_WITHHELD
        say(console, f"a run is {cautions[0]}: {tail}; the other numbers depend on its length, too")
    if one.groups:
        console.print(_groups(one.groups))
        say(
            console,
            "gain, pay: last token over 1 % earlier or later, or finished on one side only; lengths in tokens; changes "
            "of TTFT and E2E are means over the requests that have them on both sides",
            style="dim",
        )


def shown_rows(one: Against) -> Iterator[Difference]:
    """Differences of the table; requests that came to a bad end only where a side has some."""
    return chosen(one.differences)


def chosen(differences: Mapping[str, Difference]) -> Iterator[Difference]:
    """The same, by metric; forms of other papers where a side has them."""
    for kpi in (*select(*TABLE_KEYS), *of_section(OtherForms)):
        difference = differences.get(kpi.key)
        rare = kpi.kind == "count" and kpi.better == LESS and kpi.key.startswith("requests.")
        if difference is None or (is_form(kpi.key) and difference.first is None and difference.other is None):
            continue
        if not (rare and not (difference.first or difference.other)):
            yield difference


def _differences(rows: Sequence[Difference], first: str, other: str, force: bool) -> Table:
    """Numbers are never cut: where a terminal is narrow, names of metrics go over two lines."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("metric", overflow="fold")
    for head in (first, other, f"{other} - {first}", "relative", ""):
        table.add_column(head, justify="right" if head else "left", no_wrap=True)
    for row in rows:
        if withheld(row, force=force):
            table.add_row(shown_name(row.metric), *["–"] * 4, "")
            continue
        mark, factor = "*" if row.caution else "", kpi_of(row.metric).factor
        values = (f"{value_text(row, side)}{mark}" for side in (row.first, row.other))
        change = "–" if row.interval is None else digits_text(factor * row.interval.estimate, signed=True)
        table.add_row(shown_name(row.metric), *values, change, relative_text(row.relative), verdict_text(row))
    return table


def shown_name(metric: str) -> str:
    """The name of a metric in tables, with its unit."""
    kpi = kpi_of(metric)
    return f"{kpi.name}, {kpi.shown_unit}" if kpi.shown_unit else kpi.name


def value_text(row: Difference, value: float | None) -> str:
    """A value of a difference in the unit that tables show, if there is one."""
    return NOTHING if value is None else digits_text(kpi_of(row.metric).factor * value)


def _groups(groups: Sequence[Group]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True, show_edge=False)
    table.add_column("requests", no_wrap=True)
    for head in ("n", "gain", "pay", "TTFT, ms", "E2E, ms"):
        table.add_column(head, justify="right", no_wrap=True)
    for group in groups:
        table.add_row(*group_cells(group))
    return table


def group_cells(group: Group) -> tuple[str, ...]:
    """A class of requests: its name, how many, shares that gain and pay, changes of TTFT and E2E."""
    shares = (f"{100 * share:.0f} %" for share in (group.gain, group.pay))
    changes = (_in_ms(change) for change in (group.ttft_change_s, group.e2e_change_s))
    return (f"{GROUP_PREFIXES[group.kind]}{group.words}", f"{group.requests:,}", *shares, *changes)


def _in_ms(change_s: Interval | None) -> str:
    return interval_text(None if change_s is None else change_s.times(1e3), signed=True)


def verdict_text(row: Difference) -> str | Text:
    """What the difference is worth: better, worse, equal but for noise, or none of these for sure."""
    if row.zero or row.equivalent:
        return "equal"
    if not row.certain or row.interval is None:
        return "?" if row.interval is not None and math.isfinite(row.interval.half_width) else ""
    if row.better == 0:
        return ""
    return "better" if (row.interval.estimate > 0) == (row.better > 0) else styled(("worse", "red"))


def relative_text(interval: Interval | None) -> str:
    """A relative difference in percent; a large one as the factor, as thousands of percent say little."""
    if interval is None:
        return "–"
    if interval.estimate >= LARGE_CHANGE:
        factor = replace(interval, estimate=1 + interval.estimate, low=1 + interval.low, high=1 + interval.high)
        return f"x {interval_text(factor)}"
    estimate, low, high = (100 * value for value in (interval.estimate, interval.low, interval.high))
    return f"{interval_text(replace(interval, estimate=estimate, low=low, high=high), signed=True)} %"


def _verdicts(runs: Sequence[Run]) -> str:
    answers = [run.verdict.answer for run in runs]
    if len(runs) == 1:
        return f"{ANSWERS[answers[0]]}, {runs[0].verdict.reason}"
    counts = [(answer, answers.count(answer)) for answer in dict.fromkeys(answers)]
    return ", ".join(f"{ANSWERS[answer]} in {count} of {len(runs)} seeds" for answer, count in counts)
