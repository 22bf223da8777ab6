"""Step time against batch, context and prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from llmsim import __version__
from llmsim.latency.contract import LatencyModel
from llmsim.reports.plots.style import COLOURS, footer, legend_below, new_figure, tidy

CONTEXTS = (512, 1024, 4096)
BATCHES = (1, 8, 64, 256)


@dataclass(frozen=True, slots=True)
class MeasuredStep:
    """One measured step; all decoding sequences have the same context."""

    prefill_tokens: int
    decoding: int
    context_tokens: int  #: of each
    time_s: float


def step_times_figure(latency: LatencyModel, title: str, measured: Sequence[MeasuredStep] = ()) -> Figure:
    """Draw a latency model as lines, and measured steps that lie on one of them as dots."""
    figure = new_figure(12.0, 4.2)
    by_batch, by_context, by_prompt = figure.subplots(1, 3)
    decodes = [step for step in measured if not step.prefill_tokens]
    batches = np.unique(np.geomspace(1, 256, 60).astype(int)).tolist()
    for colour, context in zip(COLOURS, CONTEXTS, strict=False):
        times = [latency.step_time_s((), n, n * context) for n in batches]
        dots = [(step.decoding, step.time_s) for step in decodes if step.context_tokens == context]
        _line(by_batch, batches, times, dots, colour, f"context {context:,}")
    contexts = np.unique(np.geomspace(64, 32768, 60).astype(int)).tolist()
    for colour, batch in zip(COLOURS, BATCHES, strict=False):
        times = [latency.step_time_s((), batch, batch * context) for context in contexts]
        dots = [(step.context_tokens, step.time_s) for step in decodes if step.decoding == batch]
        _line(by_context, contexts, times, dots, colour, f"{batch} sequence{'' if batch == 1 else 's'}")
    prompts = np.unique(np.geomspace(16, 16384, 80).astype(int)).tolist()
    dots = [(step.prefill_tokens, step.time_s) for step in measured if not step.decoding]
    _line(by_prompt, prompts, [latency.step_time_s(((0, n),), 0, 0) for n in prompts], dots, COLOURS[0], "one prompt")
    dotted = "; dots: reference" if measured else ""
    tidy(by_batch, x="sequences that decode", y="step time (ms)", title=f"{title}\ndecode{dotted}")
    tidy(by_context, x="context of each (tokens)", y="step time (ms)", title=f"decode{dotted}")
    tidy(by_prompt, x="prompt (tokens)", y="step time (ms)", title=f"prefill{dotted}")
    for axes in figure.axes:
        legend_below(axes, ncols=2)
    return footer(figure, f"{title} · llmsim {__version__}")


def _line(
    axes: Axes,
    x: Sequence[int],
    time_s: Sequence[float],
    dots: Sequence[tuple[int, float]],
    colour: str,
    label: str,
) -> None:
    axes.plot(x, 1e3 * np.array(time_s), color=colour, linewidth=1.5, label=label)
    axes.scatter([x for x, _ in dots], [1e3 * y for _, y in dots], color=colour, s=18, zorder=3)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize="small")
