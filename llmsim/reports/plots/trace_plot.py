"""What a trace looks like."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from llmsim.reports.plots.style import BLUE, GREEN, ORANGE, log_ticks, new_figure, tidy
from llmsim.workload.contract import Workload


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
    return figure
