"""Figure 10 of the paper: one delivery, two readers. A stall that a slow reader never notices stops a fast one."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from llmsim import experiment
from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draw import LOOKS, finish, panels
from llmsim.figures.intervals import interval
from llmsim.figures.plan import SETTINGS, Plan, Sweep
from llmsim.metrics import ranges
from llmsim.record import Floats
from llmsim.reports.plots.style import GREY, RED
from llmsim.scenario import load_scenario

READERS = (5.0, 30.0)
POLICIES = ("prefill first", "chunked, 512")
#: a busy instance below saturation
LOADS = (0.75, 0.9)


def plans(quick: bool) -> tuple[Plan, ...]:
    """Each setting under both policies, at loads that an operator might run."""
    settings = ("sharegpt_llama", "documents_llama") if quick else tuple(SETTINGS)
    return tuple(Plan(s, policy, loads=LOADS, seeds=5 if quick else 10) for s in settings for policy in POLICIES)


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Count the readers that the same deliveries stall, and draw one of them."""
    judged = [_judge(sweeps[plan]) for plan in plans(quick)]
    main, others = judged[: len(POLICIES)], judged[len(POLICIES) :]
    claim = Claim(
        claim=7,
        statement="On a busy instance, deliveries that keep a reader of 5 tokens/s going make one of 30 tokens/s wait: "
        "true of most requests",
        passed=all(held for held, _ in main),
        evidence=tuple(text for _, text in main),
        limits=(
            *(f"{'also holds' if held else 'does not hold'}: {text}" for held, text in others),
            "Waits are counted after the first token. A reader slower than the slowest stretch of tokens never waits, "
            "one faster than the fastest always does.",
        ),
    )
    picture, table = _drawn(plans(quick)[0].rates_per_s[0])
    return Made(claim, {"readers": picture}, {"readers": table})


def _judge(sweep: Sweep) -> tuple[bool, str]:
    slow, fast = (sweep.values[f"stalled_{reader:g}"][0] for reader in READERS)
    more = interval(100 * (fast - slow))
    text = (
        f"{sweep.plan.setting}, {sweep.plan.policy}, {sweep.rates_per_s[0]:.2f} requests/s: {interval(100 * slow)} % "
        f"of requests stall a reader of {READERS[0]:g} tokens/s, {interval(100 * fast)} % one of {READERS[1]:g} "
        f"({more} points more)"
    )
    return more.positive and float(slow.mean()) < 0.5 < float(fast.mean()), text


def _drawn(rate_per_s: float) -> tuple[Any, dict[str, Any]]:
    """The same request under both policies: the one that stalls longest under the first, among mid-sized answers."""
    plan = Plan("sharegpt_llama")
    timelines = {}
    for policy in POLICIES:
        overrides = Plan("sharegpt_llama", policy).overrides(rate_per_s, seed=0)
        timelines[policy] = experiment.run(load_scenario(f"paper/{plan.setting}", overrides)).delivered
    first = timelines[POLICIES[0]]
    n = ranges.n_tokens(first)
    gap_s = np.where((n >= 150) & (n <= 300), ranges.largest_gap_s(first), -1.0)
    request = int(np.argmax(gap_s))
    figure, axes = panels(1, 4, 2.4)
    table: dict[str, Any] = {"policy": [], "reader_tokens_per_s": [], "token": [], "delivered_s": [], "wanted_s": []}
    for i, (policy, times) in enumerate(timelines.items()):
        since_s = times.token_times_s(request) - times.arrival_s[request]
        for j, reader in enumerate(READERS):
            idle_s = _delivery(axes[2 * j + i], since_s, reader, policy)
            wanted_s = since_s[0] + np.arange(len(since_s)) / reader
            table["policy"] += [policy] * len(since_s)
            table["reader_tokens_per_s"] += [reader] * len(since_s)
            table["token"] += [*range(1, len(since_s) + 1)]
            table["delivered_s"] += since_s.tolist()
            table["wanted_s"] += wanted_s.tolist()
            title = f"{policy}\nreader: {reader:g} tokens/s\nwaits {idle_s:.1f} s"
            finish(axes[2 * j + i], x="time since arrival (s)", y="tokens" if i + j == 0 else "", title=title)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure, table


def _delivery(axes: Axes, since_s: Floats, reader: float, policy: str) -> float:
    """Draw tokens delivered and tokens wanted since the first one; return how long the reader waits after it."""
    n, start_s = len(since_s), since_s[0]
    grid_s = np.linspace(0.0, float(since_s[-1]) * 1.05, 2000)
    there = np.searchsorted(since_s, grid_s, side="right")
    wanted = np.clip((grid_s - start_s) * reader + 1, 0, n) * (grid_s >= start_s)
    axes.plot(grid_s, there, color=LOOKS[policy][0], label="tokens delivered")
    axes.plot(grid_s, wanted, color=GREY, linestyle="--", linewidth=0.9, label="tokens wanted")
    axes.fill_between(grid_s, there, wanted, where=list(wanted > there), color=RED, alpha=0.35, linewidth=0,
                      label="reader waits")  # fmt: skip
    return max(0.0, float(np.max(since_s - start_s - np.arange(n) / reader)))


FIGURE = PaperFigure("readers", "figure 10", plans, make, {"readers": "10"})
