"""How latencies are distributed."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike, NDArray

from llmsim.reports.plots.style import BLUE, GREY, ORANGE, RED, footer, legend_below, log_ticks, new_figure, tidy
from llmsim.statistics.percentiles import weighted_percentile

#: a line of a picture needs no more points than it has pixels
DRAWN_POINTS = 2000
LEAST_SHARE = 1e-3  #: of the axis of tails


def latency_figure(
    ttft_s: ArrayLike,
    tpot_s: ArrayLike,
    gaps_s: ArrayLike,
    gap_weights: ArrayLike,
    *,
    bounds_s: tuple[float | None, float | None, float | None] = (None, None, None),
    note: str = "",
    caption: str = "",
) -> Figure:
    """Draw how TTFT and TPOT are distributed over requests, and ITL over all gaps, with p50, p99 and SLO bounds.

    Above the share that is at most so long; below, on a logarithmic axis, the share that is longer.

    NaN entries (no such latency) are left out. `gap_weights` says how often each gap occurred; `bounds_s` are
    those of TTFT, TPOT and ITL; `note` says below whose latencies these are, `caption` of what simulation.
    """
    figure = new_figure(10.5, 6.2)
    upper, lower = figure.subplots(2, 3, sharey="row", sharex="col")
    data = (("TTFT", ttft_s, None), ("TPOT", tpot_s, None), ("ITL, all gaps", gaps_s, gap_weights))
    for cdf, tail, (name, values, weights), bound_s in zip(upper, lower, data, bounds_s, strict=True):
        _distribution(cdf, tail, name, np.asarray(values, dtype=np.float64), weights, bound_s)
    upper[0].set_ylabel("share at most this long")
    lower[0].set_ylabel("share longer than this")
    return footer(figure, note, caption)


def _distribution(
    cdf: Axes, tail: Axes, name: str, values_s: NDArray[np.float64], weights: ArrayLike | None, bound_s: float | None
) -> None:
    """Draw the CDF, and below it on a logarithmic axis what is left of it: the tail."""
    counts = np.ones(len(values_s)) if weights is None else np.asarray(weights, dtype=np.float64)
    keep = ~np.isnan(values_s) & (counts > 0)
    order = np.argsort(values_s[keep], kind="stable")
    x_ms, cumulative = values_s[keep][order] * 1e3, np.cumsum(counts[keep][order])
    n = int(cumulative[-1]) if len(cumulative) else 0
    tidy(cdf, x="", y="", title=f"{name}  (n = {n:,})")
    tidy(tail, x=f"{name} (ms)", y="")
    cdf.set_ylim(0, 1.02)
    tail.set_yscale("log")
    tail.yaxis.set_minor_locator(NullLocator())
    tail.set_ylim(LEAST_SHARE, 1.2)
    if not n:
        cdf.text(0.5, 0.5, "none", transform=cdf.transAxes, ha="center", color=GREY)
        return
    if x_ms[0] > 0:
        log_ticks(tail, x_ms[0], x_ms[-1])
    share = cumulative / n
    shown = np.unique(np.searchsorted(share, np.linspace(0, 1, DRAWN_POINTS)).clip(max=len(share) - 1))
    cdf.step(x_ms[shown], share[shown], where="post", color=BLUE)
    rest = 1 - share
    levels = np.unique(np.searchsorted(-rest, -np.geomspace(1, LEAST_SHARE, DRAWN_POINTS)).clip(max=len(share) - 1))
    tail.step(x_ms[levels], np.maximum(rest[levels], 0.1 * LEAST_SHARE), where="post", color=BLUE)
    marks_ms = weighted_percentile([(x_ms, counts[keep][order].astype(np.int64))], (50, 99))
    for at_ms, level, colour in zip(marks_ms, (0.5, 0.99), (ORANGE, RED), strict=True):
        cdf.plot([at_ms, at_ms], [0, level], color=colour, linestyle="--", linewidth=1)
        label = f"p{100 * level:g} = {words(at_ms)} ms"
        for axes, height in ((cdf, level), (tail, 1 - level)):
            axes.plot(at_ms, height, "o", color=colour, markersize=4, label=label)
    if bound_s is not None:
        for axes in (cdf, tail):
            axes.axvline(bound_s * 1e3, color=GREY, linestyle=":", label=f"SLO {words(bound_s * 1e3)} ms")
    legend_below(tail)


def words(value: float) -> str:
    """Three significant digits, and never an exponent for a large number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
