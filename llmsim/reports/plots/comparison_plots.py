"""The pictures of a comparison: how far apart, which requests pay, and the tokens of the most changed ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmsim.metrics.catalogue import kpi_of
from llmsim.reports.format import interval_text
from llmsim.reports.plots.caption import caption
from llmsim.reports.plots.style import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    LEGEND,
    ORANGE,
    RED,
    footer,
    legend_below,
    new_figure,
    save,
    tidy,
)
from llmsim.request import Outcome
from llmsim.studies.compare import Against, Comparison, Difference, Group, withheld

DIFFERENCES, WHO_PAYS, MOST_CHANGED = "differences.png", "who_pays.png", "most_changed.png"
DRAWN_KEYS = (
    *("ttft_s.mean", "ttft_s.p50", "ttft_s.p99", "tpot_s.mean", "tbt_s.p99", "e2e_s.mean", "e2e_s.p99"),
    *("slo.attainment", "slo.goodput_tokens_per_s", "smooth_goodput_tokens_per_s", "output_tokens_per_s"),
)
#: percent beyond which the axis becomes logarithmic, from 10 % on
LOGARITHMIC_FROM_PERCENT = 300.0
PANELS = (
    ("prompt_tokens", "prompt (tokens)"),
    ("output_tokens", "output (tokens)"),
    ("arrival", "arrival"),
    ("outcome", "outcome, {first} then {other}"),
)


def draw_comparison(
    comparison: Comparison, folder: Path, *, force: bool = False, formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Write three pictures into a folder, or one where the sides have other requests; return the files."""
    figures = {DIFFERENCES: differences_figure(comparison, force=force)}
    paired = [one for one in comparison.others if one.groups]
    if paired:
        figures[WHO_PAYS] = who_pays_figure(comparison, paired)
        figures[MOST_CHANGED] = most_changed_figure(comparison, paired)
    first = comparison.first.scenario
    clusters = {side.scenario.cluster.model_dump_json(include={"gpu", "model"}) for side, _ in comparison.sides}
    varied = ("cluster.gpu", "cluster.model") if len(clusters) > 1 else ()
    for name, figure in figures.items():
        save(footer(figure, caption(first, seeds=len(comparison.seeds), varied=varied)), folder / name, formats)
    return [folder / name for name in figures]


def differences_figure(comparison: Comparison, *, force: bool = False) -> Figure:
    """Draw relative differences with their intervals; green where better for sure, red where worse."""
    figure = new_figure(5.6 * len(comparison.others) + 1.5, 0.3 * len(DRAWN_KEYS) + 1.2)
    panels = figure.subplots(1, len(comparison.others), squeeze=False, sharey=True)[0]
    for axes, one in zip(panels, comparison.others, strict=True):
        for place, name in enumerate(reversed(DRAWN_KEYS)):
            row = one.differences.get(name)
            if row is not None and withheld(row, force=force):
                axes.text(0.0, place, f"  withheld: {row.caution}", color=GREY, fontsize="small", va="center")
            elif row is not None and row.relative is not None:
                _difference(axes, place, row)
        axes.axvline(0.0, color=GREY, linewidth=0.8)
        if max(map(abs, axes.get_xlim())) > LOGARITHMIC_FROM_PERCENT:
            axes.set_xscale("symlog", linthresh=10.0)
        axes.margins(x=0.08)  # after the scale, which it depends on
        axes.set_yticks(range(len(DRAWN_KEYS)), [kpi_of(key).name for key in reversed(DRAWN_KEYS)], fontsize="small")
        axes.set_ylim(-0.6, len(DRAWN_KEYS) - 0.4)
        tidy(axes, x="difference, %", y="", title=f"{one.side} against {comparison.first}")
    return figure


def who_pays_figure(comparison: Comparison, others: Sequence[Against]) -> Figure:
    """Draw, for classes of requests, the share that gains and the share that pays: a row a side."""
    figure = new_figure(13.0, 3.0 * len(others))
    grid = figure.subplots(len(others), len(PANELS), squeeze=False, sharey="row")
    for row, one in zip(grid, others, strict=True):
        for axes, (kind, words) in zip(row, PANELS, strict=True):
            said = words.format(first=comparison.first.label, other=one.side.label)
            _shares(axes, [group for group in one.groups if group.kind == kind], said)
        row[0].set_ylabel(f"{one.side.label} against {comparison.first.label}\n% of requests")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, **LEGEND)
    return figure


def most_changed_figure(comparison: Comparison, others: Sequence[Against]) -> Figure:
    """Draw the tokens of the requests of the first seed that changed most, on both sides, beside the reader's pace."""
    columns = max(1, *(len(one.picked) for one in others))
    figure = new_figure(3.5 * columns, 3.9 * len(others))
    grid = figure.subplots(len(others), columns, squeeze=False)
    for row, one in zip(grid, others, strict=True):
        if not one.picked:
            row[0].text(0.5, 0.5, "no request changed", ha="center", va="center", color=GREY)
        for axes, (words, request) in zip(row, one.picked.items(), strict=False):
            _tokens(axes, comparison, one, request)
            what, _, which = words.partition(" (")
            tidy(axes, x="seconds since arrival", y="tokens", title=f"{what}\n{which.rstrip(')')}")
        for axes in row[len(one.picked) :]:
            axes.set_axis_off()
    return figure


def _difference(axes: Axes, place: int, row: Difference) -> None:
    interval = row.relative
    assert interval is not None
    told = row.certain and row.better != 0 and not row.equivalent
    better = told and (interval.estimate > 0) == (row.better > 0)
    colour = GREEN if better else RED if told else GREY
    axes.plot([100 * interval.estimate], [place], "o", color=colour, markersize=5)
    if math.isfinite(interval.half_width):
        axes.plot([100 * interval.low, 100 * interval.high], [place, place], color=colour, linewidth=2)
    number = f"{interval_text(interval.times(100.0), signed=True)} %"
    beside = axes.get_yaxis_transform()
    axes.text(1.01, place, number, transform=beside, va="center", fontsize="small", color=colour)


def _shares(axes: Axes, groups: Sequence[Group], words: str) -> None:
    places = np.arange(len(groups))
    axes.bar(places - 0.2, [100 * group.gain for group in groups], 0.38, color=BLUE, label="gain: last token earlier")
    axes.bar(places + 0.2, [100 * group.pay for group in groups], 0.38, color=ORANGE, label="pay: last token later")
    names = [
        f"{group.words.replace(' to ', '–').replace(', then ', chr(10))}\nn {group.requests:,}" for group in groups
    ]
    axes.set_xticks(places, names, fontsize="x-small")
    axes.set_ylim(0, 102)
    tidy(axes, x=words, y="")


def _in_lines(words: str) -> str:
    return words.replace(" to ", "–").replace(", then ", "\n").replace(" in both", "\nin both")


def _tokens(axes: Axes, comparison: Comparison, one: Against, request: int) -> None:
    last_s, most = 0.0, 0
    for side, run, colour in (
        (comparison.first, comparison.runs[0], COLOURS[0]),
        (one.side, one.runs[0], COLOURS[1]),
    ):
        times = run.delivered
        since_s = times.token_times_s(request) - times.arrival_s[request]
        n = len(since_s)
        steps_s, tokens = np.concatenate([[0.0], since_s]), np.arange(n + 1)
        axes.step(steps_s, tokens, where="post", color=colour, label=side.label)
        outcome = Outcome(int(times.outcome[request]))
        end_s = float(times.end_s[request] - times.arrival_s[request])
        if outcome != Outcome.FINISHED:
            axes.plot([end_s], [n], "x", color=colour, label=f"{side.label}: {outcome.name.lower()}")
        last_s, most = max(last_s, float(steps_s[-1])), max(most, n)
    user = comparison.first.scenario.user
    if user.anchor == "arrival":
        end_s = min(user.offset_s + most / user.tokens_per_s, 1.5 * last_s or 1.0)
        pace = np.clip((end_s - user.offset_s) * user.tokens_per_s, 0, most)
        axes.plot([user.offset_s, end_s], [0, pace], "--", color=GREY, linewidth=1, label="reader")
    legend_below(axes, ncols=2)
