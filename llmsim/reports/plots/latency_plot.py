"""How latencies are distributed."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from llmsim.reports.plots.style import BLUE, GREY, LEGEND, ORANGE, RED, log_ticks, new_figure, tidy
from llmsim.statistics.percentiles import weighted_percentile

#: a line of a picture needs no more points than it has pixels
DRAWN_POINTS = 2000


def latency_figure(
    ttft_s: ArrayLike,
    tpot_s: ArrayLike,
    gaps_s: ArrayLike,
    gap_weights: ArrayLike,
    *,
    bounds_s: tuple[float | None, float | None, float | None] = (None, None, None),
    note: str = "",
) -> Figure:
    """Draw the CDFs of TTFT and TPOT over requests, and of TBT over all gaps, with p50, p99 and SLO bounds.

    NaN entries (no such latency) are left out. `gap_weights` says how often each gap occurred; `bounds_s` are
    those of TTFT, TPOT and TBT; `note` says below whose latencies these are.
    """
    figure = new_figure(10.5, 3.3)
    panels = figure.subplots(1, 3, sharey=True)
    data = (("TTFT", ttft_s, None), ("TPOT", tpot_s, None), ("TBT, all gaps", gaps_s, gap_weights))
    for axes, (name, values, weights), bound_s in zip(panels, data, bounds_s, strict=True):
        _cdf(axes, name, np.asarray(values, dtype=np.float64), weights, bound_s)
    panels[0].set_ylabel("share at most this long")
    if note:
        figure.supxlabel(note, fontsize="small", color=GREY)
    return figure


def _cdf(
    axes: Axes, name: str, values_s: NDArray[np.float64], weights: ArrayLike | None, bound_s: float | None
) -> None:
    counts = np.ones(len(values_s)) if weights is None else np.asarray(weights, dtype=np.float64)
    keep = ~np.isnan(values_s) & (counts > 0)
    order = np.argsort(values_s[keep], kind="stable")
    x_ms, cumulative = values_s[keep][order] * 1e3, np.cumsum(counts[keep][order])
    n = int(cumulative[-1]) if len(cumulative) else 0
    tidy(axes, x=f"{name} (ms)", y="", title=f"{name}  (n = {n:,})")
    axes.set_ylim(0, 1.02)
    if not n:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=GREY)
        return
    if x_ms[0] > 0:
        log_ticks(axes, x_ms[0], x_ms[-1])
    share = cumulative / n
    shown = np.unique(np.searchsorted(share, np.linspace(0, 1, DRAWN_POINTS)).clip(max=len(share) - 1))
    axes.step(x_ms[shown], share[shown], where="post", color=BLUE)
    marks_ms = weighted_percentile([(x_ms, counts[keep][order].astype(np.int64))], (50, 99))
    for at_ms, level, colour in zip(marks_ms, (0.5, 0.99), (ORANGE, RED), strict=True):
        axes.plot([at_ms, at_ms], [0, level], color=colour, linestyle="--", linewidth=1)
        axes.plot(at_ms, level, "o", color=colour, markersize=4, label=f"p{100 * level:g} = {words(at_ms)} ms")
    if bound_s is not None:
        axes.axvline(bound_s * 1e3, color=GREY, linestyle=":", label=f"SLO {words(bound_s * 1e3)} ms")
    axes.legend(loc="lower right", **LEGEND)


def words(value: float) -> str:
    """Three significant digits, and never an exponent for a large number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
