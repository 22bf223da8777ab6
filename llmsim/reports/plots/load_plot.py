"""How busy the instances were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from llmsim.reports.plots.style import BLUE, COLOURS, GREEN, LEGEND, ORANGE, new_figure, tidy

DRAWN_POINTS = 1500
#: more instances than this are drawn as their sum, or as mean and range
MOST_DRAWN_SINGLY = 4


def load_figure(
    steps: Mapping[str, NDArray[Any]], requests: Mapping[str, NDArray[Any]], *, num_gpu_blocks: Sequence[int]
) -> Figure:
    """Draw running and waiting requests and the share of KV blocks in use over time, from a run's tables.

    Running and waiting are sums over the instances; KV blocks are drawn per instance, or for many of them as
    mean and range. `num_gpu_blocks` is what each instance has.
    """
    figure = new_figure(10.5, 4.8)
    queue, memory = figure.subplots(2, 1, sharex=True)
    time_s = np.linspace(0.0, float(np.max(steps["end_s"], initial=0.0)), DRAWN_POINTS)
    running = sampled(steps, "running", time_s).sum(axis=0)
    waiting = np.maximum(in_system(requests, time_s) - running, 0)
    queue.fill_between(time_s, running, step="post", color=BLUE, alpha=0.35, linewidth=0)
    queue.step(time_s, running, where="post", color=BLUE, linewidth=1, label="running")
    queue.step(time_s, waiting, where="post", color=ORANGE, linewidth=1, label="waiting")
    queue.legend(loc="upper right", **LEGEND)
    tidy(queue, x="", y="requests", title="Load and queue, all instances")
    rows = sampled(steps, "kv_blocks_used", time_s)
    used = 100.0 * rows / np.asarray(num_gpu_blocks)[: len(rows), None]
    if len(used) > MOST_DRAWN_SINGLY:
        memory.fill_between(time_s, used.min(axis=0), used.max(axis=0), color=GREEN, alpha=0.25, linewidth=0)
        memory.plot(time_s, used.mean(axis=0), color=GREEN, linewidth=1, label=f"mean and range of {len(used)}")
    else:
        for number, row in enumerate(used):
            memory.plot(time_s, row, color=COLOURS[number], linewidth=1, label=f"instance {number}")
    memory.legend(loc="upper right", **LEGEND)
    memory.set_ylim(0, min(102.0, max(2.0, 1.3 * used.max(initial=0.0))))  # a band near 0 is to be seen too
    each = " to ".join(f"{blocks:,}" for blocks in sorted({min(num_gpu_blocks), max(num_gpu_blocks)}))
    tidy(memory, x="time (s)", y="% of blocks", title=f"KV memory ({each} blocks each)")
    return figure


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
