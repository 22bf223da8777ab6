"""What a trace looks like."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from llmsim import __version__
from llmsim.reports.plots.style import BLUE, GREEN, ORANGE, footer, legend_beside, log_ticks, new_figure, tidy
from llmsim.workload.contract import Workload

POINTS = 1000  #: of a line, as many as a picture can show


def trace_figure(workload: Workload, *, bin_s: float = 60.0) -> Figure:
    """Draw arrivals per `bin_s` seconds, and histograms of prompt and output tokens with logarithmic bins."""
    figure = new_figure(10.5, 5.2)
    grid = figure.add_gridspec(2, 2)
    arrivals = figure.add_subplot(grid[0, :])
    counts = np.bincount((workload.arrival_s // bin_s).astype(np.int64))
    edges_min = np.arange(len(counts) + 1) * bin_s / 60.0
    arrivals.stairs(counts, edges_min, fill=True, color=BLUE, alpha=0.6)
    every = "minute" if bin_s == 60.0 else f"{bin_s:g} s"
    tidy(
        arrivals,
        x="time (min)",
        y=f"arrivals per {every}",
        title=f"{workload.source}: {len(workload):,} requests",
    )
    for column, (name, tokens, colour) in enumerate(
        (("prompt", workload.prompt_tokens, GREEN), ("output", workload.output_tokens, ORANGE))
    ):
        axes = figure.add_subplot(grid[1, column])
        bins = np.geomspace(max(tokens.min(), 1) * 0.999, tokens.max() * 1.001, 61)
        axes.hist(tokens, bins=list(bins), color=colour, alpha=0.7)
        log_ticks(axes, bins[0], bins[-1])
        p50, p99 = np.percentile(tokens, [50, 99])
        for value, style in ((p50, "--"), (p99, ":")):
            axes.axvline(value, color="black", linewidth=1, linestyle=style)
        tidy(axes, x=f"{name} tokens", y="requests", title=f"{name}: p50 {p50:,.0f}, p99 {p99:,.0f}")
    return footer(figure, f"{workload.source} · llmsim {__version__}")


def fit_figure(trace: Workload, drawn: Workload, *, bin_s: float = 60.0) -> Figure:
    """Draw a trace beside requests drawn for a table that is to resemble it: rates over time, gaps, and lengths."""
    figure = new_figure(10.5, 5.6)
    grid = figure.add_gridspec(2, 3)
    rates = figure.add_subplot(grid[0, :])
    both = ((trace, "trace", BLUE), (drawn, "drawn", ORANGE))
    for workload, label, colour in both:
        since_s = workload.arrival_s - workload.arrival_s[0]
        counts = np.bincount((since_s // bin_s).astype(np.int64)) / bin_s
        rates.stairs(counts, np.arange(len(counts) + 1) * bin_s / 60.0, color=colour, label=label, alpha=0.8)
    tidy(rates, x="time (min)", y="requests per second", title=f"{len(trace):,} requests, over {bin_s:g} s")
    legend_beside(rates)
    for column, x in enumerate(("gaps between arrivals (s)", "prompt tokens", "output tokens")):
        axes = figure.add_subplot(grid[1, column])
        for workload, label, colour in both:
            columns = (np.diff(workload.arrival_s), workload.prompt_tokens, workload.output_tokens)
            values = np.sort(columns[column])
            values = values[values > 0]
            shares = np.arange(1, len(values) + 1) / len(values)
            kept = np.unique(np.linspace(0, len(values) - 1, POINTS).astype(np.int64))
            axes.plot(values[kept], shares[kept], color=colour, label=label)
        axes.set_xscale("log")
        tidy(axes, x=x, y="share at most this long" if column == 0 else "")
    return footer(figure, f"{trace.source}, and requests drawn to resemble it · llmsim {__version__}")
