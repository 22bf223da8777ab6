"""What a sweep found: curves along one axis, a heat map over two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullFormatter

from llmsim.metrics.kpi import LESS
from llmsim.reports.format import LINE_LETTERS, broken, interval_text, value_text
from llmsim.reports.plots.caption import caption
from llmsim.reports.plots.style import COLOURS, GREY, LEGEND, RED, footer, new_figure, save, tidy
from llmsim.reports.plots.sweep_panels import ATTAINED, WITHHELD, Panel, panels_of
from llmsim.statistics import Interval
from llmsim.studies.sweep import CURVES, HEAT_MAPS, Axis, FinishedSweep

#: what a picture says beside the name of a field
FIELD_NOTES = {"router.report_age_s": " (0: oracle)"}
#: values that span more than this are drawn on a logarithmic axis
LOG_RATIO = 20.0
#: more lines in a panel than this cannot be told apart; more cells cannot be read
MOST_LINES, MOST_CELLS = 8, 12
#: from a marker to the one beside it, where values lie 1 apart
MARKER_SHIFT = 0.08
#: width of a small letter, in widths of a panel
LETTER_WIDTH = 0.0225
#: letters of a value, of a line of a name beside a panel
VALUE_LETTERS, NAME_LETTERS = 24, 20
HOLLOW_NOTE = "hollow: not all runs are steady"


def draw_sweep(swept: FinishedSweep, folder: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Write curves.png (one or two axes) and heat_maps.png (two) into a folder; return the files.

    Fields that move together are one axis. A sweep over more than two has its table only.
    """
    axes = swept.sweep.axes
    if len(axes) > 2:
        return []
    panels = list(panels_of(swept))
    told = caption(swept.sweep.points[0].scenario, seeds=len(swept.sweep.seeds), varied=swept.sweep.fields)
    files = [folder / CURVES]
    save(curves_figure(axes, panels, told), files[0], formats)
    if len(axes) == 2 and max(len(axis.values) for axis in axes) <= MOST_CELLS:
        files.append(folder / HEAT_MAPS)
        save(heat_maps_figure(axes, panels, told), files[1], formats)
    return files


def curves_figure(axes: Sequence[Axis], panels: Sequence[Panel], caption: str = "") -> Figure:
    """Draw each metric along the first axis of numbers, a line for each value of the other, with 95 % intervals.

    Along an axis of words, which have no order, there are markers without a line.
    """
    along = next((i for i, axis in enumerate(axes) if _numeric(axis)), 0)
    figure, grid = _grid(len(panels), 3.4)
    for axes_of, panel in zip(grid, panels, strict=True):
        _curves(axes_of, axes, along, panel)
    if len(axes) == 2:
        handles, labels = grid[0].get_legend_handles_labels()
        lines = len(axes[1 - along].values)
        few = f", the first {MOST_LINES} of {lines}" if lines > MOST_LINES else ""
        title = f"{', '.join(axes[1 - along].names)}{few}   ({HOLLOW_NOTE})"
        figure.legend(handles, labels, title=title, loc="outside upper center", ncols=4, **LEGEND)
    hollow = len(axes) == 1 and any(panel.unsteady for panel in panels)
    return footer(figure, HOLLOW_NOTE if hollow else "", caption)


def heat_maps_figure(axes: Sequence[Axis], panels: Sequence[Panel], caption: str = "") -> Figure:
    """Draw each metric over two axes: the mean, half of its 95 % interval. Bright is good; framed: the SLO is met."""
    down, across = axes
    figure, grid = _grid(len(panels), max(2.0, 0.42 * len(down.values) + 1.1))
    for axes_of, panel in zip(grid, panels, strict=True):
        shape = (len(down.values), len(across.values))
        intervals = [panel.cells[place] for place in np.ndindex(shape)]
        means = np.array([math.nan if one is None else one.estimate for one in intervals]).reshape(shape)
        colours = "cividis_r" if panel.better == LESS else "cividis"
        axes_of.imshow(np.ma.masked_invalid(means), aspect="auto", cmap=colours, origin="lower")
        bright = _bright(-means if panel.better == LESS else means)
        for row, column in panel.met:
            frame = Rectangle((column - 0.46, row - 0.44), 0.92, 0.88, fill=False, edgecolor=RED, linewidth=2)
            axes_of.add_patch(frame)
        for (row, column), one in zip(np.ndindex(shape), intervals, strict=True):
            colour = GREY if one is None else "black" if bright[row, column] else "white"
            text = panel.absent if one is None else interval_text(one).replace(" ±", "\n±")
            axes_of.text(column, row, text, ha="center", va="center", fontsize="x-small", color=colour)
        labels = _labels(across)
        axes_of.set_xticks(range(len(labels)), labels, fontsize="small", rotation=_rotation(labels))
        axes_of.set_yticks(range(len(down.values)), _labels(down), fontsize="small")
        axes_of.set_title(panel.words, loc="left", fontsize="medium")
        axes_of.set_xlabel("\n".join(across.names))
        axes_of.set_ylabel("\n".join(broken(name, NAME_LETTERS) for name in down.names), fontsize="small")
    framed = f"; framed: {100 * ATTAINED:g} % of requests meet the SLO" if any(panel.met for panel in panels) else ""
    return footer(figure, f"bright is good{framed}", caption)


def _grid(panels: int, height_in: float) -> tuple[Figure, list[Axes]]:
    rows = math.ceil(panels / 3)
    figure = new_figure(11.0, height_in * rows)
    grid = list(figure.subplots(rows, 3, squeeze=False).flat)
    for spare in grid[panels:]:
        spare.remove()
    return figure, grid[:panels]


def _curves(axes_of: Axes, axes: Sequence[Axis], along: int, panel: Panel) -> None:
    axis = axes[along]
    numeric = _numeric(axis)
    x = [float(row[0]) for row in axis.values] if numeric else [float(i) for i in range(len(axis.values))]
    labels = _labels(axes[1 - along], VALUE_LETTERS) if len(axes) == 2 else [""]
    lines = min(len(labels), MOST_LINES)
    draw = _line if numeric else _markers
    for line in range(lines):
        aside = 0.0 if numeric else MARKER_SHIFT * (line - (lines - 1) / 2)
        places = [(i,) if len(axes) == 1 else ((i, line) if along == 0 else (line, i)) for i in np.argsort(x)]
        shown = {place: one for place in places if (one := panel.cells[place]) is not None}
        draw(axes_of, [x[at[along]] + aside for at in shown], list(shown.values()), COLOURS[line], labels[line])
        hollow = [(x[at[along]] + aside, one.estimate) for at, one in shown.items() if at in panel.unsteady]
        axes_of.plot(
            *zip(*hollow, strict=True) if hollow else ([], []), "o", color=COLOURS[line], mfc="white", ms=5, zorder=3
        )
    tidy(axes_of, x="\n".join(f"{name}{FIELD_NOTES.get(name, '')}" for name in axis.names), y="", title=panel.words)
    if not any(panel.cells.values()):
        why = "withheld: no point is steady" if panel.absent == WITHHELD else "no run has such a number"
        axes_of.text(0.5, 0.5, why, transform=axes_of.transAxes, ha="center", color=GREY)
        axes_of.set_axis_off()  # an empty one would have numbers that belong to nothing
        return
    _ticks(axes_of, axis, x)
    _limit(axes_of, panel)
    _bound(axes_of, panel.bound)


def _bound(axes_of: Axes, bound: float | None) -> None:
    """Mark the SLO's bound, if it lies in the picture."""
    low, high = axes_of.get_ylim()
    if bound is None or not low < bound < high:
        return
    axes_of.axhline(bound, color=GREY, linestyle=":", linewidth=1.2)
    beside = axes_of.get_yaxis_transform()
    axes_of.text(1.0, bound, "SLO", transform=beside, fontsize="x-small", color=GREY, ha="right", va="bottom")


def _ticks(axes_of: Axes, axis: Axis, x: Sequence[float]) -> None:
    """Name the values where matplotlib would not: words, and numbers that lie decades apart."""
    if not _numeric(axis):
        axes_of.set_xlim(min(x) - 0.5, max(x) + 0.5)
        labels = _labels(axis)
        axes_of.set_xticks(x, labels, fontsize="small", rotation=_rotation(labels))
    elif min(x) > 0 and max(x) > LOG_RATIO * min(x):
        axes_of.set_xscale("log")
        if len(x) <= MOST_LINES:
            axes_of.set_xticks(x, _apart(x, _labels(axis)), fontsize="small")
            axes_of.xaxis.set_minor_formatter(NullFormatter())
    else:  # all panels alike, also where a metric has a single point
        beside = 0.05 * (max(x) - min(x)) or 0.5
        axes_of.set_xlim(min(x) - beside, max(x) + beside)
        if all(value == int(value) for value in x):
            axes_of.xaxis.set_major_locator(MaxNLocator(integer=True))


def _apart(x: Sequence[float], labels: Sequence[str]) -> list[str]:
    """Labels of a logarithmic axis, without those that would lie on the one before."""
    span = math.log(max(x) / min(x))
    kept = [""] * len(x)
    end = -math.inf
    for i in np.argsort(x):
        at = math.log(x[i] / min(x)) / span
        half = LETTER_WIDTH * _letters(labels[i]) / 2
        if at - half > end:
            kept[i], end = labels[i], at + half + LETTER_WIDTH / 2
    return kept


def _limit(axes_of: Axes, panel: Panel) -> None:
    """Show the means; an interval from a few seeds that disagree may go out of the picture."""
    values = [one.estimate for one in panel.cells.values() if one is not None]
    if not values or min(values) < 0:
        return
    if panel.words.endswith("(ms)") and min(values) > 0 and max(values) > LOG_RATIO * min(values):
        axes_of.set_yscale("log")
        axes_of.set_ylim(min(values) / 2, 2 * max(values))
    else:
        axes_of.set_ylim(0, 102 if panel.words.endswith("(%)") else 1.3 * max(values) or 1)


def _line(axes_of: Axes, x: Sequence[float], intervals: Sequence[Interval], colour: str, label: str) -> None:
    means = [one.estimate for one in intervals]
    axes_of.plot(x, means, color=colour, marker="o", markersize=3, linewidth=1.2, label=label)
    bounded = [(at, one) for at, one in zip(x, intervals, strict=True) if one.bounded]
    if bounded:
        low, high = [one.low for _, one in bounded], [one.high for _, one in bounded]
        axes_of.fill_between([at for at, _ in bounded], low, high, color=colour, alpha=0.2, linewidth=0)


def _markers(axes_of: Axes, x: Sequence[float], intervals: Sequence[Interval], colour: str, label: str) -> None:
    ends = [(one.low, one.high) if one.bounded else (one.estimate, one.estimate) for one in intervals]
    means = [one.estimate for one in intervals]
    beyond = np.abs(np.array(ends).T - np.array(means))
    axes_of.errorbar(x, means, beyond, color=colour, fmt="o", markersize=4, linewidth=1.2, label=label)


def _numeric(axis: Axis) -> bool:
    return all(isinstance(row[0], int | float) and not isinstance(row[0], bool) for row in axis.values)


def _labels(axis: Axis, line: int = LINE_LETTERS) -> list[str]:
    return ["\n".join(broken(_short(value_text(value)), line) for value in row) for row in axis.values]


def _letters(label: str) -> int:
    return max(map(len, label.split("\n")))


def _rotation(labels: Sequence[str]) -> float:
    """Upright where labels side by side would run into each other."""
    return 90.0 if LETTER_WIDTH * max(map(_letters, labels)) * len(labels) > 1 else 0.0


def _short(text: str) -> str:
    return text if len(text) <= VALUE_LETTERS else f"{text[:11]}…{text[-12:]}"


def _bright(means: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where the colour map is bright enough for black letters."""
    low, high = np.nanmin(means, initial=np.inf), np.nanmax(means, initial=-np.inf)
    return np.asarray(means - low > 0.55 * (high - low))
