"""Predicted against measured."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmsim import __version__
from llmsim.reports.plots.style import COLOURS, GREY, LEGEND, MARKERS, footer, new_figure, tidy
from llmsim.studies.validation import Point, Report


def validation_figure(report: Report) -> Figure:
    """Draw every point of the first one's unit, predicted against measured, and its error; hollow: fitted."""
    unit = report.points[0].unit
    points = [point for point in report.points if point.unit == unit]
    figure = new_figure(11.0, 5.8)
    scatter, errors = figure.subplots(1, 2)
    _points(scatter, errors, points)
    band_percent = max((check.limit for check in report.checks if check.unit == "%"), default=0.0)
    _diagonal(scatter, points, band_percent)
    errors.axhspan(-band_percent, band_percent, color=GREY, alpha=0.12, linewidth=0)
    errors.axhline(0, color=GREY, linewidth=1)
    errors.set_xscale("log")
    _number_worst(errors, [point for point in report.worst() if point.unit == unit], points)
    scatter.legend(loc="upper left", **LEGEND)
    if errors.get_legend_handles_labels()[1]:
        figure.legend(*errors.get_legend_handles_labels(), loc="outside upper center", **LEGEND)
    named = f"{report.case}{_left_out(report, unit)}"
    tidy(scatter, x=f"measured ({unit})", y=f"predicted ({unit})", title=f"{named}: predicted against measured")
    grey = f"; grey: ±{band_percent:g} %" if band_percent else ""
    tidy(errors, x=f"measured ({unit})", y="error (%)", title=f"Error{grey}")
    return footer(figure, f"llmsim validate {report.case} · llmsim {__version__}")


def _left_out(report: Report, unit: str) -> str:
    """Name what has another unit than the axes."""
    groups = dict.fromkeys(point.group for point in report.points if point.unit != unit)
    return f" without {', '.join(groups)}" if groups else ""


def _points(scatter: Axes, errors: Axes, points: list[Point]) -> None:
    for number, group in enumerate(dict.fromkeys(point.group for point in points)):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS) % len(MARKERS)]
        scatter.scatter([], [], color=colour, marker=marker, s=18, label=group)
        for fitted in (False, True):
            some = [point for point in points if point.group == group and (point.role == "fitted") == fitted]
            style: dict[str, Any] = {"color": colour, "marker": marker, "alpha": 0.7, "s": 18}
            measured = [point.measured for point in some]
            for axes, y in (
                (scatter, [point.predicted for point in some]),
                (errors, [point.error_percent for point in some]),
            ):
                axes.scatter(measured, y, facecolors="none" if fitted else colour, **style)
    if any(point.role == "fitted" for point in points):
        scatter.scatter([], [], color=GREY, facecolors="none", s=18, label="hollow: fitted")


def _number_worst(axes: Axes, worst: list[Point], points: list[Point]) -> None:
    """Number what is missed most; the numbers are told in the legend, as the names are longer than the axes."""
    for number, point in enumerate(worst, start=1):
        axes.annotate(
            f"{number}", (point.measured, point.error_percent), _away(point, points),
            textcoords="offset points", fontsize="x-small",
        )  # fmt: skip
        label = f"{point.group}, {point.label}: {point.error_percent:+.0f} %"
        axes.plot([], [], linestyle="", marker=f"${number}$", color="black", markersize=5, label=label)


def _away(point: Point, points: list[Point]) -> tuple[int, int]:
    """Where a point's number stands, in typographic points: on the side away from its nearest neighbour."""
    at = np.array([[np.log(other.measured), other.error_percent] for other in points])
    far = np.delete(at - at[points.index(point)], points.index(point), axis=0)
    if not len(far):
        return 5, 3
    spans = np.maximum(np.ptp(at, axis=0), 1e-9)
    right, above = far[np.abs(far / spans).sum(axis=1).argmin()]
    return (-9 if right > 0 else 5), (-9 if above > 0 else 3)


def _diagonal(axes: Axes, points: list[Point], band_percent: float) -> None:
    values = np.array([[point.measured, point.predicted] for point in points])
    ends = np.array([values.min(), values.max()])
    axes.plot(ends, ends, color=GREY, linewidth=1)
    width = band_percent / 100
    axes.fill_between(ends, ends * (1 - width), ends * (1 + width), color=GREY, alpha=0.12, linewidth=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
