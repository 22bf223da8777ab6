"""The score of a run, or of any result, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmsim.experiment import ANSWERS, P99S_MARKED, P99S_WITHHELD, Result
from llmsim.metrics.catalogue import kpi_of
from llmsim.metrics.request_table import RequestRow
from llmsim.metrics.score import Score
from llmsim.metrics.sections.benchmark_file import BenchmarkFile
from llmsim.metrics.sections.choices import Choices
from llmsim.metrics.sections.duration import Duration
from llmsim.metrics.sections.pools import Pools
from llmsim.metrics.sections.utilisation import Utilisation
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.reports.format import number_text, share_text
from llmsim.reports.tables.class_table import show_classes
from llmsim.reports.tables.file_summary_tables import show_notes
from llmsim.reports.tables.forms_table import show_forms
from llmsim.reports.tables.latency_table import show_latencies
from llmsim.reports.tables.outcome_rows import outcome_rows
from llmsim.reports.tables.per_request_table import per_request_table
from llmsim.reports.tables.setting import setting
from llmsim.reports.terminal import plain_console, say, styled
from llmsim.scenario import SyntheticWorkload


def show_run(result: Result, folder: Path | None, console: Console | None = None, *, force: bool = False) -> None:
    """Print the result of one run, and where its files are; P99s only of a steady run, unless forced."""
    console = console or plain_console()
    console.print(styled("\n", (result.scenario.name, "bold"), f"\n{setting(result.scenario)}"))
    score = result.reported(force=force)
    choices = score.section(Choices)
    if choices.engine is not None:
        say(console, f"engine {choices.engine}", style="dim")
    say(console, f"step times {choices.step_times}", style="dim")
    if not isinstance(result.scenario.workload, SyntheticWorkload):
        say(console, result.workload, style="dim")
    show_latencies(score, console)
    console.print(_outcome(score))
    show_classes(score, console)
    if pools := score.find(Pools):
        console.print(_pools(pools))
    say(console, verdict_line(score.section(RunVerdict)))
    if used := score.find(Utilisation):
        say(console, utilisation_line(used), style="dim")
    if folder is not None:
        console.print(f"tables and pictures: {folder}", soft_wrap=True)
        for file in sorted(folder.glob("*.png")):
            console.print(f"  {file}", soft_wrap=True)


def show_score(
    name: str,
    score: Score,
    per_request: Sequence[RequestRow] | None = None,
    console: Console | None = None,
) -> None:
    """Print a score: latencies, outcome, and each request, of those with a row in `per_request`."""
    console = console or plain_console()
    choices = score.section(Choices)
    say(console, styled("\n", (name, "bold"), f"\ntimes {choices.times}"))
    show_latencies(score, console)
    console.print(_outcome(score))
    if file := score.find(BenchmarkFile):
        show_notes(file.notes, file.printed or {}, console)
    show_classes(score, console)
    show_forms(score, console)
    if per_request and choices.user is not None:
        console.print(per_request_table(per_request, choices.user))
    if verdict := score.find(RunVerdict):
        say(console, verdict_line(verdict))


def utilisation_line(used: Utilisation) -> str:
    """Say in one line how much of what instances have is in use."""
    words = (
        *(
            ("seats that decode", used.seats),
            ("KV memory read by decodes", used.kv_tokens),
            ("token budget", used.batch_tokens),
        ),
        *(("memory bandwidth", used.bandwidth), ("FLOP/s", used.flop)),
    )
    return f"in use: {', '.join(f'{100 * share:.0f} % of {name}' for name, share in words if share is not None)}"


def verdict_line(verdict: RunVerdict) -> Text:
    """Say in one line whether the run was steady, why, and what becomes of its P99s."""
    evidence = verdict.evidence
    utilisation, drain_s = evidence.get("utilisation"), evidence.get("drain_s")
    reasons = [verdict.reason]
    if utilisation is not None:
        reasons.append(f"steps run {100 * utilisation:.0f} % of the time")
    if "drain_s" in evidence:
        reasons.append(f"drained {number_text(drain_s)} s after the last arrival")
    tails = "" if verdict.withheld is None else f"; {P99S_WITHHELD}"
    tails = tails if verdict.forced is None else f"; {P99S_MARKED}"
    return styled((ANSWERS[verdict.answer], "bold"), f": {'; '.join(reasons)}{tails}")


def _outcome(score: Score) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    for row in outcome_rows(score):
        table.add_row(*row)
    if lasted := score.find(Duration):
        table.add_row("simulated", f"{number_text(lasted.simulated_s)} s in {number_text(lasted.wall_s)} s")
    return table


def _pools(pools: Pools) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("pool")
    for head in ("instances", "requests", "finished", "tokens", "mean TTFT, ms", "busy"):
        table.add_column(head, justify="right")
    for name, pool in pools.by_name.items():
        first, last = pool.instances
        ttft_ms = None if pool.mean_ttft_s is None else pool.mean_ttft_s * kpi_of("pools.*.mean_ttft_s").factor
        counts = (number_text(count) for count in (last - first, pool.requests, pool.finished, pool.output_tokens))
        table.add_row(name, *counts, number_text(ttft_ms), share_text(pool.utilisation))
    return table
