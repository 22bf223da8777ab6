"""Which assumption moves a plan's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmsim.reports.plots.style import COLOURS, footer, new_figure, tidy

if TYPE_CHECKING:
    from llmsim.studies.plan.tornado import End, Tornado

HEIGHT_INCHES, ROW_INCHES = 1.9, 0.42
#: of the longest cost that is known: where an end carries nothing, its bar goes on to the edge
BEYOND = 1.15


def tornado_figure(tornado: Tornado, *, caption: str = "") -> Figure:
    """Draw a plan's tornado: a bar for each assumption, from its low to its high end, by cost."""
    bars, own = tornado.bars, tornado.usd_per_hour
    known = [end.usd_per_hour for bar in bars for end in (bar.low, bar.high)]
    most = BEYOND * max([own, *(cost for cost in known if cost is not None)])
    figure = new_figure(9.0, HEIGHT_INCHES + ROW_INCHES * len(bars))
    axes = figure.subplots()
    for place, bar in enumerate(bars):
        for end, colour in ((bar.low, COLOURS[0]), (bar.high, COLOURS[1])):
            _half(axes, place, own, most, end, colour)
    axes.axvline(own, color="0.3", linewidth=1)
    axes.set_yticks(range(len(bars)), [bar.assumption for bar in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.margins(x=0.14)
    tidy(axes, x="USD per hour for the load asked for", y="", title=_title(tornado))
    return footer(figure, caption)


def _half(axes: Axes, place: int, own: float, most: float, end: End, colour: str) -> None:
    """The part of a bar from the answer to one of its ends, with what is assumed there written beside it."""
    cost = most if end.usd_per_hour is None else end.usd_per_hour
    if cost == own:
        return
    axes.barh(place, cost - own, left=own, height=0.6, color=colour)
    right = cost > own
    nothing = " (carries nothing)" if end.usd_per_hour is None else ""
    axes.annotate(
        f"{end.said}{nothing}",
        (cost, place),
        (4 if right else -4, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="center",
        fontsize=8,
    )


def _title(tornado: Tornado) -> str:
    unit = "users" if tornado.load_key == "users" else "requests/s"
    return f"What moves the answer: with all as assumed {tornado.amount:.4g} {unit} at most"
