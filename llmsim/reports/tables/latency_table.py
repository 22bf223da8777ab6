"""The latencies of a score, in milliseconds: those first that an SLO is on as a rule, each beside its bound."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from llmsim.metrics import catalogue
from llmsim.metrics.kpi import Kpi
from llmsim.metrics.score import Score
from llmsim.metrics.sections.choices import Choices
from llmsim.metrics.sections.outcomes import Outcomes
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.metrics.summary import STATISTICS, Summary
from llmsim.reports.format import number_text
from llmsim.reports.terminal import say

ESTIMATE_MARK = "†"
COLUMN_HEADS = (*STATISTICS, "SLO", "n")
#: those that come first, with the bound of the SLO that stands beside them
FIRST = {"ttft_s": "ttft_s", "tbt_s": "tbt_s", "tpot_s": "tpot_s", "e2e_s": "e2e_s"}


def show_latencies(score: Score, console: Console) -> None:
    """Print a row for each latency that the score has, and what marks mean."""
    console.print(_table(score))
    if note := estimate_note(score):
        say(console, f"  {note}")


def estimate_note(score: Score) -> str:
    """Say what the mark of estimates means, and of how many requests they are; nothing where there are none."""
    cut = [one.censored for kpi in catalogue.summaries() if (one := score.get(kpi.key)) and _is_estimate(kpi, one)]
    if not cut:
        return ""
    requests = number_text(score.section(Outcomes).total)
    return f"{ESTIMATE_MARK} after Kaplan and Meier: up to {number_text(max(cut))} of {requests} requests cut short"


def _table(score: Score) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("latency")
    for name in COLUMN_HEADS:
        table.add_column(name, justify="right")
    for row in latency_rows(score):
        table.add_row(*row)
    return table


def latency_rows(score: Score) -> Iterator[tuple[str, ...]]:
    """Name, values in the unit shown, bound of the SLO, and sample of each latency that the score has."""
    verdict, slo = score.find(RunVerdict), score.section(Choices).slo or {}
    order = [*FIRST, *(kpi.key for kpi in catalogue.summaries())]
    for kpi in sorted(catalogue.summaries(), key=lambda one: order.index(one.key)):
        summary = score.get(kpi.key)
        if kpi.kind == "latency" and isinstance(summary, Summary):
            values = (
                latency_text(summary[name], kpi.factor, marked=is_forced(verdict, f"{kpi.key}.{name}"))
                for name in STATISTICS
            )
            name = title(kpi) + f" {ESTIMATE_MARK}" * _is_estimate(kpi, summary)
            bound_s = slo.get(FIRST.get(kpi.key, ""))
            bound = "" if bound_s is None else f"≤ {number_text(bound_s * kpi.factor)}"
            yield name, *values, bound, number_text(summary.n)


def _is_estimate(kpi: Kpi, summary: Summary) -> bool:
    """Whether percentiles of a wait are estimates, because some requests were cut short before its end."""
    return kpi.kind == "latency" and kpi.estimated and bool(summary.censored) and bool(summary.n)


def title(kpi: Kpi) -> str:
    """Name, what the sample is over, and unit."""
    return f"{kpi.name} {kpi.sample}".rstrip() + f", {kpi.shown_unit}"


def is_forced(verdict: RunVerdict | None, key: str) -> bool:
    """Whether a percentile is shown although it is not to be relied on."""
    return verdict is not None and key in (verdict.forced or ())


def latency_text(value_s: float | None, factor: float, *, marked: bool) -> str:
    """A latency in the unit shown, with a * where it is not to be relied on."""
    return "–" if value_s is None else number_text(value_s * factor) + "*" * marked
