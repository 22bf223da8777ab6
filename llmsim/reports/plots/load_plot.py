"""How busy the instances were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from llmsim.reports.plots.style import (
    BLUE,
    COLOURS,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    footer,
    legend_beside,
    new_figure,
    tidy,
)

DRAWN_POINTS = 1500
#: more instances than this are drawn as their sum, or as mean and range
MOST_DRAWN_SINGLY = 3
#: tokens and misses are counted over so many equal parts of the run
BINS = 120
SHORTEST_S = 1e-7  #: that a row of steps lasts, where all of its counts are to be seen
LEAST_PERCENT = 10.0  #: that the axis of misses reaches


def load_figure(
    steps: Mapping[str, NDArray[Any]],
    requests: Mapping[str, NDArray[Any]],
    *,
    num_gpu_blocks: Sequence[int],
    names: Sequence[str] = (),
    missed: NDArray[np.bool_] | None = None,
    caption: str = "",
) -> Figure:
    """Draw what a run's tables say over time: running and waiting requests, KV blocks, tokens, misses.

    Running, waiting and tokens are sums over the instances; KV blocks are drawn for each instance, or for many of them
    as mean and range, of each pool. `num_gpu_blocks` is what each instance has, `names` what it is called, `missed`
    which requests missed the SLO, (requests,).
    """
    figure = new_figure(10.5, 8.2)
    queue, memory, tokens, misses = figure.subplots(4, 1, sharex=True)
    time_s = np.linspace(0.0, float(np.max(steps["end_s"], initial=0.0)), DRAWN_POINTS)
    running = sampled(steps, "running", time_s).sum(axis=0)
    waiting = np.maximum(in_system(requests, time_s) - running, 0)
    queue.fill_between(time_s, running, step="post", color=BLUE, alpha=0.35, linewidth=0)
    queue.step(time_s, running, where="post", color=BLUE, linewidth=1, label="running")
    queue.step(time_s, waiting, where="post", color=ORANGE, linewidth=1, label="waiting")
    legend_beside(queue)
    tidy(queue, x="", y="requests", title="Load and queue, all instances")
    _draw_memory(memory, steps, num_gpu_blocks, names, time_s)
    _draw_tokens(tokens, steps, float(time_s[-1]))
    _draw_misses(misses, requests, missed, float(time_s[-1]))
    return footer(figure, caption)


def _draw_memory(
    axes: Axes,
    steps: Mapping[str, NDArray[Any]],
    num_gpu_blocks: Sequence[int],
    names: Sequence[str],
    time_s: NDArray[np.float64],
) -> None:
    rows = sampled(steps, "kv_blocks_used", time_s)
    used = 100.0 * rows / np.asarray(num_gpu_blocks)[: len(rows), None]
    called = [names[number] if number < len(names) else f"instance {number}" for number in range(len(used))]
    if len(used) > MOST_DRAWN_SINGLY:
        pools = [name.rpartition(" ")[0] for name in called]
        for place, pool in enumerate(dict.fromkeys(pools)):
            mine = used[[one == pool for one in pools]]
            colour, kind = COLOURS[place % len(COLOURS)], "instances" if pool == "instance" else pool
            axes.fill_between(time_s, mine.min(axis=0), mine.max(axis=0), color=colour, alpha=0.25, linewidth=0)
            label = f"{kind}:\nmean and range of {len(mine)}"
            axes.plot(time_s, mine.mean(axis=0), color=colour, linewidth=1, label=label)
    else:
        for number, row in enumerate(used):
            axes.plot(time_s, row, color=COLOURS[number], linewidth=1, label=called[number])
    legend_beside(axes)
    axes.set_ylim(0, min(102.0, max(2.0, 1.3 * used.max(initial=0.0))))  # a band near 0 is to be seen too
    each = " to ".join(f"{blocks:,}" for blocks in sorted({min(num_gpu_blocks), max(num_gpu_blocks)}))
    tidy(axes, x="", y="% of blocks", title=f"KV memory ({each} blocks each)")


def _draw_tokens(axes: Axes, steps: Mapping[str, NDArray[Any]], end_s: float) -> None:
    edges_s = np.linspace(0.0, end_s, BINS + 1)
    for label, colour, count in (
        ("decoded", BLUE, steps["decoding"] * steps["steps"]),
        ("prefilled", GREEN, steps["prefill_tokens"]),
    ):
        axes.stairs(rates_per_s(steps["start_s"], steps["end_s"], count, edges_s), edges_s, color=colour, label=label)
    legend_beside(axes)
    axes.set_ylim(bottom=0)
    tidy(axes, x="", y="tokens/s", title="Throughput, all instances")


def _draw_misses(
    axes: Axes, requests: Mapping[str, NDArray[Any]], missed: NDArray[np.bool_] | None, end_s: float
) -> None:
    edges_s = np.linspace(0.0, end_s, BINS + 1)
    arrived, _ = np.histogram(requests["arrival_s"], edges_s)
    kinds = [("preempted", PURPLE, requests["preemptions"] > 0)]
    kinds += [] if missed is None else [("SLO missed", RED, missed)]
    most = LEAST_PERCENT
    for label, colour, which in kinds:
        count, _ = np.histogram(requests["arrival_s"][which], edges_s)
        share = 100.0 * count / np.maximum(arrived, 1)
        most = max(most, float(share.max(initial=0.0)))
        axes.stairs(share, edges_s, color=colour, label=f"{label}\n({100 * np.mean(which):.3g} % of all)")
    legend_beside(axes)
    axes.set_ylim(0, min(102.0, 1.1 * most))
    tidy(axes, x="time (s)", y="% of arrivals", title="Misses and preemptions, by when requests arrived")


def rates_per_s(
    start_s: NDArray[np.float64], end_s: NDArray[np.float64], count: NDArray[Any], edges_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean rate within each bin, (bins,), of counts that are spread evenly over the time of their row, (rows,)."""
    end_s = np.maximum(end_s, start_s + SHORTEST_S)
    length_s = end_s - start_s
    at_s, change = np.concatenate([start_s, end_s]), np.concatenate([count / length_s, -count / length_s])
    order = np.argsort(at_s, kind="stable")
    at_s, rate = at_s[order], np.cumsum(change[order])
    so_far = np.concatenate([[0.0], np.cumsum(rate[:-1] * np.diff(at_s))])
    by_edge = np.interp(edges_s, at_s, so_far) if len(at_s) else np.zeros(len(edges_s))
    return np.asarray(np.diff(by_edge) / np.maximum(np.diff(edges_s), 1e-12))


def in_system(requests: Mapping[str, NDArray[Any]], time_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many requests have arrived and not ended at given times, shape (times,).

    Waiting requests are the rest of these beside running ones. The `waiting` of a row of steps is no help:
    it is counted at the row's end, where an arrival that cut the row short has just come.
    """
    arrived, ended = (np.searchsorted(np.sort(requests[name]), time_s, side="right") for name in ("arrival_s", "end_s"))
    return arrived - ended


def sampled(steps: Mapping[str, NDArray[Any]], column: str, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a column's value at given times, shape (instances, times); 0 while an instance does nothing."""
    instances = int(np.max(steps["instance"], initial=0)) + 1
    values = np.zeros((instances, len(time_s)))
    for number in range(instances):
        mine = np.flatnonzero(steps["instance"] == number)
        if len(mine):
            row = np.searchsorted(steps["start_s"][mine], time_s, side="right") - 1
            busy = (row >= 0) & (time_s < steps["end_s"][mine][row])
            values[number, busy] = steps[column][mine][row[busy]]
    return values
