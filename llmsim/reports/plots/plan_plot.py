"""What a plan's clusters cost against how fast their users are served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from llmsim.reports.plots.style import COLOURS, MARKERS, footer, legend_below, new_figure, tidy

Point = tuple[float, float]
#: points: the first candidate's markers are the largest, so that one behind another's keeps a visible rim
SMALLEST_MARKER, MARKER_STEP = 7.0, 3.0
#: points from a marker to its label: neighbours in the legend do not cover each other where their markers do
CARRIES_BESIDE, FAILS_BESIDE = ((9, -12), (9, 5)), ((0, 9), (0, -17))
#: ratio of the highest to the lowest cost from which the lowest could not be told apart on a linear axis
LOGARITHMIC_COST_RATIO = 20.0
#: labels of one candidate are at least this share of the speeds apart
LABEL_DISTANCE = 0.07


def pareto_figure(rows: Sequence[Mapping[str, Any]], *, find: str, caption: str = "") -> Figure:
    """Draw a plan's evaluations (rows of evaluations.parquet) that were steady: cost against user speed.

    Filled: meets the targets. The line joins those that nothing beats in both. `find` chooses the label of a point:
    its instances, or its rate.
    """
    figure = new_figure(9.0, 5.2)
    axes = figure.subplots()
    shown = [row for row in rows if row["usd_per_million_tokens"] is not None and row["user_tokens_per_s"] is not None]
    speeds = [row["user_tokens_per_s"] for row in shown]
    for place, name in enumerate(names := list(dict.fromkeys(map(_name, shown)))):
        mine = [row for row in shown if _name(row) == name]
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        size = SMALLEST_MARKER + MARKER_STEP * (len(names) - 1 - place)
        for row in mine:
            face = colour if _carries(row) else "none"
            axes.plot(*_point(row), marker, markersize=size, color=colour, markerfacecolor=face)
        for row in _labelled(mine, find, LABEL_DISTANCE * (max(speeds) - min(speeds))):
            label = f"{row['instances']}" if find == "instances" else _load_text(row)
            beside = (CARRIES_BESIDE if _carries(row) else FAILS_BESIDE)[place % 2]
            align = "left" if _carries(row) else "center"
            axes.annotate(label, _point(row), beside, textcoords="offset points", ha=align, fontsize=8, color=colour)
        axes.plot([], [], marker, color=colour, label=name)
    best = frontier([_point(row) for row in shown if _carries(row)])
    if best:
        axes.plot(*zip(*best, strict=True), "-", color="0.6", linewidth=1, zorder=0, label="nothing better in both")
    loads = "users" if shown and "users" in shown[0] else "requests/s"
    numbers = "instances" if find == "instances" else loads
    if shown:
        legend_below(axes, ncols=2)
    tidy(
        axes,
        x="median user's speed after the first token (tokens/s)",
        y="USD per million output tokens",
        title=f"Cost against user speed (filled: meets the targets; numbers: {numbers})",
    )
    axes.margins(0.12)
    _scale_costs(axes, [row["usd_per_million_tokens"] for row in shown])
    return footer(figure, caption)


def _point(row: Mapping[str, Any]) -> Point:
    return row["user_tokens_per_s"], row["usd_per_million_tokens"]


def _carries(row: Mapping[str, Any]) -> bool:
    return bool(row["answer"] == "carries")


def _labelled(mine: Sequence[Mapping[str, Any]], find: str, apart: float) -> list[Mapping[str, Any]]:
    """The points of a candidate that carry, those at the edge first, and the first beyond it that does not."""
    from_edge = -1 if find == "load" else 1
    carry = [row for row in mine if _carries(row)][::from_edge]
    beyond = [row for row in mine if not _carries(row)][::-from_edge][:1]
    kept: list[Mapping[str, Any]] = []
    for row in carry:
        if not kept or abs(row["user_tokens_per_s"] - kept[-1]["user_tokens_per_s"]) >= apart:
            kept.append(row)
    return kept + beyond


def _scale_costs(axes: Axes, costs: Sequence[float]) -> None:
    if costs and max(costs) > LOGARITHMIC_COST_RATIO * min(costs):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    else:
        axes.set_ylim(bottom=0)


def frontier(points: Sequence[Point]) -> list[Point]:
    """Return the points (speed, cost) that no other beats in both, by speed."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (-p[0], p[1])):
        if not best or point[1] < best[-1][1]:
            best.append(point)
    return best[::-1]


def _load_text(row: Mapping[str, Any]) -> str:
    return f"{row['users']:g}" if "users" in row else f"{row['rate_per_s']:.4g}/s"


def _name(row: Mapping[str, Any]) -> str:
    size = row["tensor_parallel_size"]
    hardware = row.get("unit") or f"{row['gpu']}{f' TP{size}' if size > 1 else ''}"
    return f"{hardware}, {row['scheduler']}"
