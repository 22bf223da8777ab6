"""Instances that come and go with the load, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from llmsim.metrics.paid_time import instances_at, paid_until
from llmsim.record import Floats, InstanceState
from llmsim.reports.plots.load_plot import DRAWN_POINTS, in_system
from llmsim.reports.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, footer, legend_beside, new_figure, tidy

#: arrivals are counted over so many equal parts of the run
BINS = 120
STATES = ((InstanceState.READY, GREEN), (InstanceState.STARTING, ORANGE), (InstanceState.DRAINING, PURPLE))


def instances_figure(
    states: Mapping[str, NDArray[Any]],
    requests: Mapping[str, NDArray[Any]],
    *,
    end_s: float,
    usd_per_instance_hour: float,
    most_instances: int,
    caption: str = "",
) -> Figure:
    """Draw arrivals and requests in the system, instances by state, and their cost so far, over time.

    `states` is a record's `instance_states`; the cost of `most_instances` that are always there is drawn beside.
    """
    figure = new_figure(10.5, 6.6)
    load, instances, cost = figure.subplots(3, 1, sharex=True)
    time_s = np.linspace(0.0, end_s, DRAWN_POINTS)
    _draw_load(load, requests, time_s)
    counts = [instances_at(states, time_s, (state,)) for state, _ in STATES]
    instances.stackplot(
        time_s, *counts, step="post", colors=[colour for _, colour in STATES], alpha=0.6, linewidth=0,
        labels=[state.name.lower() for state, _ in STATES],
    )  # fmt: skip
    instances.set_ylim(0, 1.05 * most_instances)
    instances.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    legend_beside(instances)
    tidy(instances, x="", y="instances", title="Instances that are paid for")
    usd = paid_until(states, time_s) * usd_per_instance_hour / 3600
    always = most_instances * time_s * usd_per_instance_hour / 3600
    cost.plot(time_s, always, color=GREY, linewidth=1, linestyle="--", label=f"{most_instances} all the time")
    cost.plot(time_s, usd, color=BLUE, linewidth=1.5, label="this run")
    legend_beside(cost)
    tidy(cost, x="time (s)", y="USD", title="Cost so far")
    return footer(figure, caption)


def _draw_load(axes: Axes, requests: Mapping[str, NDArray[Any]], time_s: Floats) -> None:
    counts, edges_s = np.histogram(requests["arrival_s"], bins=BINS, range=(0.0, float(time_s[-1])))
    axes.step(time_s, in_system(requests, time_s), where="post", color=BLUE, linewidth=1)
    tidy(axes, x="", y="requests", title="Load: requests in the system (blue), arrivals per second (orange, right)")
    rate = axes.twinx()
    rate.stairs(counts / np.diff(edges_s), edges_s, color=ORANGE, linewidth=1.2)
    rate.set_ylim(bottom=0)
    rate.set_ylabel("arrivals/s")
    rate.spines[["top"]].set_visible(False)
