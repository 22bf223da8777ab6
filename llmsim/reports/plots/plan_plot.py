"""What a plan's clusters cost against how fast their users are served."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from llmsim.reports.plots.style import COLOURS, MARKERS, footer, legend_below, new_figure, tidy

if TYPE_CHECKING:
    from llmsim.studies.plan import EvaluationRow

Point = tuple[float, float]
#: points: the first candidate's markers are the largest, so that one behind another's keeps a visible rim
SMALLEST_MARKER, MARKER_STEP = 7.0, 3.0
#: points from a marker to its label: neighbours in the legend do not cover each other where their markers do
CARRIES_BESIDE, FAILS_BESIDE = ((9, -12), (9, 5)), ((0, 9), (0, -17))
#: ratio of the highest to the lowest cost from which the lowest could not be told apart on a linear axis
LOGARITHMIC_COST_RATIO = 20.0
#: labels of one candidate are at least this share of the speeds apart
LABEL_DISTANCE = 0.07


def pareto_figure(rows: Sequence[EvaluationRow], *, find: str, caption: str = "") -> Figure:
    """Draw a plan's evaluations that were steady: cost against user speed.

    Filled: meets the targets. The line joins those that nothing beats in both. `find` chooses the label of a point:
    its instances, or its rate.
    """
    figure = new_figure(9.0, 5.2)
    axes = figure.subplots()
    shown = list(_shown(rows))
    speeds = [one.speed for one in shown]
    for place, name in enumerate(names := list(dict.fromkeys(one.row.candidate.name for one in shown))):
        mine = [one for one in shown if one.row.candidate.name == name]
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        size = SMALLEST_MARKER + MARKER_STEP * (len(names) - 1 - place)
        for one in mine:
            face = colour if one.row.carries else "none"
            axes.plot(one.speed, one.cost, marker, markersize=size, color=colour, markerfacecolor=face)
        for one in _labelled(mine, find, LABEL_DISTANCE * (max(speeds) - min(speeds))):
            label = f"{one.row.instances}" if find == "instances" else _load_text(one.row)
            beside, align = (CARRIES_BESIDE, "left") if one.row.carries else (FAILS_BESIDE, "center")
            at = (one.speed, one.cost)
            axes.annotate(label, at, beside[place % 2], textcoords="offset points", ha=align, fontsize=8, color=colour)
        axes.plot([], [], marker, color=colour, label=name)
    best = frontier([(one.speed, one.cost) for one in shown if one.row.carries])
    if best:
        axes.plot(*zip(*best, strict=True), "-", color="0.6", linewidth=1, zorder=0, label="nothing better in both")
    loads = "users" if shown and shown[0].row.load.key == "users" else "requests/s"
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
    _scale_costs(axes, [one.cost for one in shown])
    return footer(figure, caption)


class _Shown(NamedTuple):
    """An evaluation with a place in the picture."""

    row: EvaluationRow
    speed: float
    cost: float


def _shown(rows: Sequence[EvaluationRow]) -> Iterator[_Shown]:
    for row in rows:
        if row.usd_per_million_tokens is not None and row.user_tokens_per_s is not None:
            yield _Shown(row, row.user_tokens_per_s, row.usd_per_million_tokens)


def _labelled(mine: Sequence[_Shown], find: str, apart: float) -> list[_Shown]:
    """The points of a candidate that carry, those at the edge first, and the first beyond it that does not."""
    from_edge = -1 if find == "load" else 1
    carry = [one for one in mine if one.row.carries][::from_edge]
    beyond = [one for one in mine if not one.row.carries][::-from_edge][:1]
    kept: list[_Shown] = []
    for one in carry:
        if not kept or abs(one.speed - kept[-1].speed) >= apart:
            kept.append(one)
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


def _load_text(row: EvaluationRow) -> str:
    return f"{row.load.amount:g}" if row.load.key == "users" else f"{row.load.amount:.4g}/s"
