"""The look of a figure for a paper: 7 inches wide for two columns, 8 pt, lines that survive grey printing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmsim.figures.intervals import Interval, half_widths
from llmsim.record import Floats
from llmsim.reports.plots.style import (
    BLUE,
    GREEN,
    LEGEND,
    LETTERS,
    METADATA,
    ORANGE,
    PURPLE,
    RED,
    new_figure,
    tidy,
)
from llmsim.writing import replaced

STYLE: Any = {
    "font.size": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    **LETTERS,
}
WIDTH_IN = 7.0
#: setting -> words in a legend
WORDS = {
    "sharegpt_llama": "ShareGPT, Llama-3.1-8B",
    "sharegpt_qwen": "ShareGPT, Qwen2.5-14B",
    "documents_llama": "documents, Llama-3.1-8B",
    "documents_qwen": "documents, Qwen2.5-14B",
    "azure_llama": "Azure conversations, Llama-3.1-8B",
    "tight_decode": "code and summaries",
    "tight_prefill": "questions and agents",
    "loose": "code and summaries, all loose",
    "reasoning": "reasoning",
    "long_context": "long conversations",
    "agents": "agents",
}
#: policy -> colour, marker: told apart by the colour-blind, and in grey
LOOKS = {
    "prefill first": (BLUE, "o"),
    "chunked, 2048": (ORANGE, "s"),
    "chunked, 512": (GREEN, "^"),
    "SLOs-Serve": (RED, "D"),
    "VTC": (RED, "D"),
    "VTC, predicted": (PURPLE, "v"),
}


def style() -> Any:
    """Context in which figures are made and saved."""
    return rc_context(STYLE)


def panels(rows: int, columns: int, height_in: float) -> tuple[Figure, list[Axes]]:
    """Return a figure of two columns' width and its axes, row by row."""
    figure = new_figure(WIDTH_IN, height_in)
    return figure, list(np.ravel(figure.subplots(rows, columns)))


def band(axes: Axes, x: Floats, values: Floats, *, log: bool = False, **look: Any) -> None:
    """Draw the mean over seeds of `values` (R, S) against x, with its 95 % interval as a band.

    On a log axis both are those of the logarithms.
    """
    shown = np.log(values) if log else values
    mean, half = shown.mean(axis=1), half_widths(shown)
    middle, low, high = (np.exp(y) if log else y for y in (mean, mean - half, mean + half))
    (line,) = axes.plot(x, middle, **look)
    axes.fill_between(x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    if log:
        axes.set_yscale("log")


def policy_band(axes: Axes, x: Floats, values: Floats, policy: str, **look: Any) -> None:
    """Draw a policy's line in its own colour and marker."""
    colour, marker = LOOKS[policy]
    band(axes, x, values, **({"color": colour, "marker": marker, "label": policy} | look))


def whiskers(axes: Axes, x: Sequence[float], found: Sequence[Interval], *, over: float = 1.0, **look: Any) -> None:
    """Draw means with their 95 % intervals, divided by a number, against x."""
    means, half = [one.mean / over for one in found], [one.half_width / over for one in found]
    axes.errorbar(x, means, half, capsize=2, linewidth=1, **look)


def ticks_at(axes: Axes, x: Sequence[float]) -> None:
    """Make x logarithmic, with these ticks and no others."""
    axes.set_xscale("log")
    axes.set_xticks(x, [f"{value:g}" for value in x])
    axes.minorticks_off()


def finish(axes: Axes, *, x: str, y: str, title: str = "", legend: Any = None) -> None:
    """Label axes; legend at a place, if any."""
    tidy(axes, x=x, y=y, title=title)
    if legend is not None:
        axes.legend(loc=legend, **LEGEND)


LEGEND_ROW = 80  #: characters of a legend's labels for which there is room in a row


def legend_above(figure: Figure, axes: Axes) -> None:
    """One legend for all panels, of the lines in one of them, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    rows = -(-sum(map(len, labels)) // LEGEND_ROW)
    figure.legend(handles, labels, loc="outside upper center", ncols=-(-len(labels) // rows), frameon=False)


def save_all(
    folder: Path, pictures: Mapping[str, Figure], tables: Mapping[str, Mapping[str, Sequence[Any] | Floats]]
) -> list[Path]:
    """Write each picture as PNG, PDF and SVG, each table as CSV, in one move each; return the files."""
    written = []
    for name, figure in pictures.items():
        for kind, metadata in METADATA.items():
            file = folder / f"{name}.{kind}"
            with replaced(file) as scratch:
                figure.savefig(scratch, format=kind, dpi=200, metadata=metadata)
            written.append(file)
    for name, columns in tables.items():
        file = folder / f"{name}.csv"
        with replaced(file) as scratch:
            pd.DataFrame(dict(columns)).to_csv(scratch, index=False, float_format="%.6g")
        written.append(file)
    return written
