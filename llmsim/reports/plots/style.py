"""One look for all pictures: colours of Okabe and Ito, told apart by colour-blind readers, and quiet axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from llmsim.writing import replaced

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#666666"
#: one for each round of the colours, or for each colour
MARKERS = "os^Dv"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, "#56B4E9", "#F0E442", "#000000")
#: small, and readable where it lies over a line
LEGEND: dict[str, Any] = {"fontsize": "small", "framealpha": 0.85, "edgecolor": "none"}

DPI = 150
FOOTER_SIZE = 7.5
#: text as text, to be searched and set in another font, and the same bytes each time
LETTERS: dict[str, Any] = {"svg.fonttype": "none", "svg.hashsalt": "llmsim", "pdf.fonttype": 42}
#: of each format, what would differ from one writing to the next is left out
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None, "Creator": None},
}


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure; it belongs to its caller alone."""
    return Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")


def tidy(axes: Axes, *, x: str, y: str, title: str = "") -> None:
    """Label axes and take away what carries no data."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if title:
        axes.set_title(title, loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)


def log_ticks(axes: Axes, low: float, high: float) -> None:
    """Make the x axis logarithmic, for values from low to high, with as many plain numbers as fit."""
    steps = (1.0, 2.0, 5.0) if high < 150 * low else (1.0,)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())  # they take a third of the time to draw
    axes.tick_params(axis="x", labelsize="small")


def legend_beside(axes: Axes, **more: Any) -> None:
    """Put the legend to the right of the axes, where it lies on no data."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), borderaxespad=0.3, **LEGEND | more)


def legend_below(axes: Axes, **more: Any) -> None:
    """Put the legend under the axes and their label, where it lies on no data."""
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.2), borderaxespad=0.0, **LEGEND | more)


def footer(figure: Figure, *lines: str) -> Figure:
    """Say below a picture what it is of, so that it can be told apart anywhere; return the figure."""
    figure.supxlabel("\n".join(line for line in lines if line), x=0.01, ha="left", fontsize=FOOTER_SIZE, color=GREY)
    return figure


def save(figure: Figure, file: Path, formats: Sequence[str] = ("png",)) -> None:
    """Write a picture in each of the formats, in one move each; the same figure gives the same bytes.

    `file` ends in .png; the others lie beside it. Letters are letters in PDF and SVG. InputError if a place cannot be
    written.
    """
    for kind in formats:
        _save(figure, file.with_suffix(f".{kind}"), kind)


def _save(figure: Figure, file: Path, kind: str) -> None:
    with replaced(file) as scratch:
        if kind == "png":  # savefig would draw it twice
            FigureCanvasAgg(figure).print_png(str(scratch), metadata={"Software": None})  # type: ignore[no-untyped-call]
        else:
            with rc_context(LETTERS):  # type: ignore[arg-type]  # stubs of new versions list every name
                figure.savefig(scratch, format=kind, metadata=METADATA[kind])
