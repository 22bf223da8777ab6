"""Predicted against measured."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmsim.plots.style import COLOURS, GREY, LEGEND, new_figure, tidy
from llmsim.validation import Point, Report

NAMED = 5  #: points whose label is drawn
BAND_PERCENT = 10.0


def validation_figure(report: Report) -> Figure:
    """Draw every point, predicted against measured, and its error; hollow ones took part in a fit."""
    figure = new_figure(11.0, 4.8)
    scatter, errors = figure.subplots(1, 2)
    groups = list(dict.fromkeys(point.group for point in report.points))
    for number, group in enumerate(groups):
        mine = [point for point in report.points if point.group == group]
        for role in ("predicted", "fitted"):
            some = [point for point in mine if (point.role == "fitted") == (role == "fitted")]
            colour = COLOURS[number % len(COLOURS)]
            style = {"color": colour, "alpha": 0.7, "s": 18, "facecolors": colour if role == "predicted" else "none"}
            measured = [point.measured for point in some]
            label = group if role == "predicted" else None
            scatter.scatter(measured, [point.predicted for point in some], label=label, **style)
            errors.scatter(measured, [point.error_percent for point in some], **style)
    unit = report.points[0].unit
    _diagonal(scatter, report.points)
    errors.axhspan(-BAND_PERCENT, BAND_PERCENT, color=GREY, alpha=0.12, linewidth=0)
    errors.axhline(0, color=GREY, linewidth=1)
    errors.set_xscale("log")
    for point in report.worst()[:NAMED]:
        place = {"xytext": (4, 2), "textcoords": "offset points", "fontsize": "xx-small", "color": GREY}
        errors.annotate(point.label, (point.measured, point.error_percent), **place)
    scatter.legend(loc="upper left", **LEGEND)
    tidy(scatter, x=f"measured ({unit})", y=f"predicted ({unit})", title=f"{report.case}: predicted against measured")
    tidy(errors, x=f"measured ({unit})", y="error (%)", title=f"Error; the band is {BAND_PERCENT:g} %")
    return figure


def _diagonal(axes: Axes, points: tuple[Point, ...]) -> None:
    values = np.array([[point.measured, point.predicted] for point in points])
    ends = np.array([values.min(), values.max()])
    axes.plot(ends, ends, color=GREY, linewidth=1)
    width = BAND_PERCENT / 100
    axes.fill_between(ends, ends * (1 - width), ends * (1 + width), color=GREY, alpha=0.12, linewidth=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
