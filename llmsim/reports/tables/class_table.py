"""Each class of requests as a row."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table

from llmsim.metrics.catalogue import kpi_of
from llmsim.metrics.score import Score
from llmsim.metrics.sections.agents import Agents
from llmsim.metrics.sections.attainment import Attainment
from llmsim.metrics.sections.choices import Choices
from llmsim.metrics.sections.class_scores import ClassScores
from llmsim.metrics.sections.fairness import Fairness
from llmsim.metrics.sections.reader import Reading
from llmsim.metrics.sections.together import Together
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.reports.format import number_text, share_text
from llmsim.reports.tables.latency_table import is_forced, latency_text
from llmsim.reports.tables.outcome_rows import bounds_text
from llmsim.reports.terminal import say

#: KPIs of the columns between the number of requests and the SLO, all in seconds
WAIT_KEYS = ("ttft_s.p50", "ttft_s.p99", "tbt_s.p99")


def show_classes(score: Score, console: Console) -> None:
    """Print a row for each class of requests, if there are classes."""
    classes = score.find(ClassScores)
    if classes is None:
        return
    console.print(_table(classes.by_name, score.find(RunVerdict)))
    of_all = score.section(Choices).slo
    bounds = {name: own.bounds for name, of in classes.by_name.items() if (own := of.find(Attainment)) is not None}
    others = [f"{name}: {bounds_text(slo)}" for name, slo in bounds.items() if slo and slo != of_all]
    if others:
        say(console, f"SLO of its own: {'; '.join(others)}")
    together = score.find(Together)
    if together is not None and together.attainment is not None and (others or _differ(score, together)):
        goodput, smooth = together.goodput_tokens_per_s, together.smooth_goodput_tokens_per_s
        say(
            console,
            f"all, each by its own SLO and reader: {share_text(together.attainment)} within it, goodput "
            f"{number_text(goodput)} tokens/s, smooth goodput {number_text(smooth)} tokens/s",
        )
    if (agents := score.find(Agents)) is not None and agents.attainment is not None:
        whole = f"; E2E {number_text(agents.e2e_s.mean)} s on average" if agents.e2e_s.mean is not None else ""
        say(console, f"agents: {share_text(agents.attainment)} with all stages in time{whole}; whole run")
    if (fairness := score.find(Fairness)) is not None:
        served = ", ".join(f"{name} {number_text(tokens)}" for name, tokens in fairness.service_tokens.items())
        index = "no time in which all wait" if fairness.jain_index is None else f"Jain {fairness.jain_index:.3f}"
        gap = number_text(fairness.largest_gap_tokens)
        say(console, f"service, prompt + 2 x output tokens: {served}; while tenants wait: largest gap {gap}, {index}")


def _differ(score: Score, together: Together) -> bool:
    """Whether readers of classes make a difference."""
    return score.section(Reading).smooth_goodput_tokens_per_s != together.smooth_goodput_tokens_per_s


def _table(classes: Mapping[str, Score], verdict: RunVerdict | None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True)
    table.add_column("class,\ntimes in s", overflow="fold")
    goodputs = ("goodput,\ntokens/s", "smooth,\ntokens/s")
    for head in ("n", *(kpi_of(key).name for key in WAIT_KEYS), kpi_of("slo.attainment").short, *goodputs):
        table.add_column(head, justify="right")
    for name, of in classes.items():
        waits = (latency_text(of[key], 1.0, marked=is_forced(verdict, key)) for key in WAIT_KEYS)
        slo = of.find(Attainment)
        met = ("–", "–") if slo is None else (share_text(slo.attainment), number_text(slo.goodput_tokens_per_s))
        smooth = number_text(of.section(Reading).smooth_goodput_tokens_per_s)
        table.add_row(name, number_text(of["requests.total"]), *waits, *met, smooth)
    return table
