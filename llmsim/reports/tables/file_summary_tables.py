"""What a benchmark printed, where its file has no requests one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from llmsim.interop.measured_score import FileSummary
from llmsim.metrics.catalogue import summaries
from llmsim.metrics.sections.benchmark_file import Printed
from llmsim.reports.format import number_text
from llmsim.reports.tables.latency_table import latency_text, title
from llmsim.reports.terminal import plain_console, say, styled

PRINTED_STATISTICS = ("mean", "p50", "p90", "p95", "p99")
#: numbers of a benchmark's summary, some of which no score has
PRINTED_AMOUNTS = {
    "requests.finished": "requests finished",
    "requests.abandoned": "requests failed",
    "output_tokens_per_s": "throughput, output tokens/s",
    "total_tokens_per_s": "throughput, prompt and output tokens/s",
    "requests_per_s": "throughput, requests/s",
    "goodput_requests_per_s": "goodput of its own SLO, requests/s",
    "duration_s": "duration, s",
    "prompt_tokens": "prompt tokens",
    "output_tokens": "output tokens",
}


def show_file_summary(name: str, summary: FileSummary, console: Console | None = None) -> None:
    """Print what a benchmark's summary tells: its latencies and amounts, and what it lacks."""
    console = console or plain_console()
    say(console, styled("\n", (name, "bold"), f"\ntimes summary ({summary.source})"))
    for table in (_latencies(summary.printed), _amounts(summary.printed)):
        if table.row_count:
            console.print(table)
    show_notes(summary.notes, {}, console)


def _latencies(printed: Mapping[str, float]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("latency, as printed")
    for statistic in PRINTED_STATISTICS:
        table.add_column(statistic, justify="right")
    for kpi in summaries():
        values = [printed.get(f"{kpi.key}.{statistic}") for statistic in PRINTED_STATISTICS]
        if kpi.kind == "latency" and any(value is not None for value in values):
            table.add_row(title(kpi), *(latency_text(value, kpi.factor, marked=False) for value in values))
    return table


def _amounts(printed: Mapping[str, float]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    for key, words in PRINTED_AMOUNTS.items():
        if key in printed:
            table.add_row(words, number_text(printed[key]))
    return table


def show_notes(notes: Sequence[str], printed: Mapping[str, Printed], console: Console) -> None:
    """Print what a file lacks and what was assumed of it, and where the score differs from what its tool printed."""
    for note in notes:
        say(console, f"  {note}")
    held = {key: one for key, one in printed.items() if one.here is not None}
    same = sum(one.why is None for one in held.values())
    if same:
        say(console, f"  {same} of {len(held)} numbers that the tool printed are the same here")
    for key, one in held.items():
        if one.why is not None:
            tool, here = number_text(one.tool), number_text(one.here)
            say(console, f"  {key}: the tool has {tool}, here {here}: {one.why}")
