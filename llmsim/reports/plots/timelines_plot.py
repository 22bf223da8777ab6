"""When the tokens of a few requests came, against a reader that takes them in at a steady pace."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from llmsim.record import Timelines
from llmsim.reports.plots.style import BLUE, GREY, RED, footer, legend_below, new_figure, tidy
from llmsim.request import Outcome


def spread(timelines: Timelines, preemptions: NDArray[np.int64]) -> dict[str, int]:
    """Pick finished requests that show the range, words -> id: median and slow ones, and the most preempted.

    Median and slow are by time per token, among the longer half of the outputs: few tokens show little.
    """
    finished = np.flatnonzero(timelines.outcome == Outcome.FINISHED)
    if not len(finished):
        return {}
    tokens = timelines.output_tokens[finished]
    long = finished[tokens >= np.median(tokens)]
    per_token_s = (timelines.end_s - timelines.arrival_s)[long] / timelines.output_tokens[long]
    order = long[np.argsort(per_token_s, kind="stable")]
    picked = {"median": int(order[len(order) // 2]), "slow (p99)": int(order[int(0.99 * (len(order) - 1))])}
    most = int(finished[np.argmax(preemptions[finished])])
    if preemptions[most]:
        picked[f"preempted {preemptions[most]} x"] = most
    return picked


def timelines_figure(
    timelines: Timelines,
    picked: Mapping[str, int],
    *,
    tokens_per_s: float,
    anchor: str = "arrival",
    offset_s: float = 0.0,
    caption: str = "",
) -> Figure:
    """Draw tokens against seconds since arrival for each picked request (words -> id), and a reader's line.

    Where the line runs above the tokens the reader waits: those stretches are filled.
    """
    figure = new_figure(3.5 * max(len(picked), 1), 4.0)
    for panel, (words, request) in enumerate(picked.items(), start=1):
        axes = figure.add_subplot(1, len(picked), panel)
        since_s = timelines.token_times_s(request) - timelines.arrival_s[request]
        start_s = offset_s + (since_s[0] if anchor == "first_token" and len(since_s) else 0.0)
        _timeline(axes, since_s, start_s, tokens_per_s)
        title = f"{words}\nrequest {request}, prompt {timelines.prompt_tokens[request]:,}"
        tidy(axes, x="seconds since arrival", y="tokens" if panel == 1 else "", title=title)
        legend_below(axes)
    return footer(figure, caption)


def _timeline(axes: Axes, since_s: NDArray[np.float64], start_s: float, tokens_per_s: float) -> None:
    n = len(since_s)
    times_s = np.concatenate([[0.0], since_s])
    axes.step(times_s, np.arange(n + 1), where="post", color=BLUE, label="tokens")
    end_s = min(max(times_s[-1], start_s + n / tokens_per_s), 2.5 * times_s[-1])
    grid_s = np.linspace(0.0, end_s, 1000)
    reader = np.clip((grid_s - start_s) * tokens_per_s, 0, n)
    there = np.searchsorted(since_s, grid_s, side="right")
    axes.plot(grid_s, reader, color=GREY, linestyle="--", linewidth=1, label=f"reader, {tokens_per_s:g}/s")
    waits = reader > there
    if waits.any():
        axes.fill_between(
            grid_s, there, reader, where=list(waits), color=RED, alpha=0.3, linewidth=0, label="reader waits"
        )
