"""What a plan's clusters cost against how fast their users are served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from llmsim.plots.style import COLOURS, LEGEND, new_figure, tidy

Point = tuple[float, float]
MARKERS = "os^Dv"
#: points: the first candidate's markers are the largest, so that one behind another's keeps a visible rim
SMALLEST, SMALLER = 7.0, 3.0
#: labels of neighbours in the legend do not cover each other where their markers do
ABOVE_OR_BELOW = ((9, 5), (9, -12))


def pareto_figure(rows: Sequence[Mapping[str, Any]], *, find: str) -> Figure:
    """Draw a plan's evaluations (rows of evaluations.parquet) that were steady: cost against user speed.

    Filled: meets the targets. The line joins those that nothing beats in both. `find` chooses the label of a point:
    its instances, or its rate.
    """
    figure = new_figure(9.0, 5.2)
    axes = figure.subplots()
    shown = [row for row in rows if row["usd_per_million_tokens"] is not None and row["user_tokens_per_s"] is not None]
    names = list(dict.fromkeys(_name(row) for row in shown))
    for row in shown:
        place = names.index(_name(row))
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        point = (row["user_tokens_per_s"], row["usd_per_million_tokens"])
        met = row["answer"] == "carries"
        size = SMALLEST + SMALLER * (len(names) - 1 - place)
        axes.plot(*point, marker, markersize=size, color=colour, markerfacecolor=colour if met else "none")
        label = f"{row['instances']}" if find == "instances" else f"{row['rate_per_s']:.3g}/s"
        beside = ABOVE_OR_BELOW[place % 2]
        axes.annotate(label, point, textcoords="offset points", xytext=beside, fontsize=8, color=colour)
    for place, name in enumerate(names):
        axes.plot([], [], MARKERS[place % len(MARKERS)], color=COLOURS[place % len(COLOURS)], label=name)
    best = frontier([(r["user_tokens_per_s"], r["usd_per_million_tokens"]) for r in shown if r["answer"] == "carries"])
    if best:
        axes.plot(*zip(*best, strict=True), "-", color="0.6", linewidth=1, zorder=0, label="nothing better in both")
    numbers = "instances" if find == "instances" else "requests/s"
    if shown:
        axes.legend(loc="best", **LEGEND)
    tidy(
        axes,
        x="median user's speed after the first token (tokens/s)",
        y="USD per million output tokens",
        title=f"Cost against user speed (filled: meets the targets; numbers: {numbers})",
    )
    axes.margins(0.12)
    axes.set_ylim(bottom=0)
    return figure


def frontier(points: Sequence[Point]) -> list[Point]:
    """Return the points (speed, cost) that no other beats in both, by speed."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (-p[0], p[1])):
        if not best or point[1] < best[-1][1]:
            best.append(point)
    return best[::-1]


def _name(row: Mapping[str, Any]) -> str:
    size = row["tensor_parallel_size"]
    return f"{row['gpu']}{f' TP{size}' if size > 1 else ''}, {row['scheduler']}"
