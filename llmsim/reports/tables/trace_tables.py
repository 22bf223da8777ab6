"""The numbers of a trace as tables."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from llmsim.reports.format import number_text, share_text
from llmsim.reports.terminal import plain_console, say, styled
from llmsim.workload.trace_stats import TokenStats, TraceStats


def show_trace(stats: TraceStats, picture: Path | None, console: Console | None = None) -> None:
    """Print the numbers of a trace."""
    console = console or plain_console()
    console.print(styled("\n", (stats.source, "bold")))
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    for words, value in trace_rows(stats):
        table.add_row(words, value)
    console.print(table)
    lengths = Table(box=box.SIMPLE_HEAD)
    lengths.add_column("")
    for column in TokenStats.__slots__:
        lengths.add_column(column, justify="right")
    for words, tokens in (("prompt tokens", stats.prompt_tokens), ("output tokens", stats.output_tokens)):
        lengths.add_row(words, *map(number_text, astuple(tokens)))
    console.print(lengths)
    if stats.rates_per_s is not None:
        say(console, f"requests/s in twelfths of the time: {' '.join(f'{rate:.3g}' for rate in stats.rates_per_s)}")
    if picture is not None:
        console.print(f"picture: {picture}", soft_wrap=True)


def trace_rows(stats: TraceStats) -> list[tuple[str, str]]:
    """Say how requests arrive and how alike they begin, as far as that is known: names and values."""
    numbers = {
        "requests": stats.requests,
        "first to last arrival, s": stats.duration_s,
        "mean rate, requests/s": stats.mean_rate_per_s,
        f"peak rate, over {stats.bin_s:g} s": stats.peak_rate_per_s,
        "gaps, standard deviation / mean (Poisson: 1)": stats.gap_cv,
        f"counts in {stats.bin_s:g} s, variance / mean (Poisson: 1)": stats.dispersion,
    }
    shares = {
        "prompt tokens that an earlier prompt began with": stats.infinite_cache_hit_ratio,
        "the same in whole blocks of the trace": stats.infinite_cache_block_hit_ratio,
    }
    rows = [(words, number_text(value)) for words, value in numbers.items() if value is not None]
    return rows + [(words, share_text(share)) for words, share in shares.items() if share is not None]
