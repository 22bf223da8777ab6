"""Figures 1 and 2 of the paper: two timelines that TTFT, ITL and TPOT cannot tell apart, and a reader can."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draw import finish, panels
from llmsim.figures.plan import Plan
from llmsim.metrics.request_table import request_table
from llmsim.metrics.smooth_goodput import User
from llmsim.record import Floats, Timelines
from llmsim.reports.plots.style import BLUE, GREY, RED

READER = User(tokens_per_s=4.0)
#: both: 20 tokens, a second's pause; A pauses with 10 tokens in hand, B with 2
A = np.concatenate([np.arange(1, 11) * 0.1, 2.0 + np.arange(10) * 0.1])
B = np.concatenate([[0.1, 0.2], 1.2 + np.arange(18) * 0.1])
SAME = ("ttft_s", "max_gap_s", "tpot_s")


def plans(quick: bool) -> tuple[Plan, ...]:
    """Nothing to simulate."""
    return ()


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Score and draw the two timelines."""
    rows = request_table(Timelines.from_token_times([0.0, 0.0], [A, B]), READER)
    a, b = rows
    same = all(abs((a[name] or 0.0) - (b[name] or 0.0)) < 1e-9 for name in SAME)
    apart = (a["l_arrival_s"] or 0.0) <= 0 < (b["l_arrival_s"] or 0.0) and (a["qoe"] or 0.0) > (b["qoe"] or 0.0)
    claim = Claim(
        claim=1,
        statement="Two timelines with equal TTFT, largest gap and TPOT differ in what a reader waits and in QoE",
        passed=same and apart,
        evidence=tuple(
            f"{name}: TTFT {row['ttft_s']:.3f} s, largest gap {row['max_gap_s']:.3f} s, TPOT {row['tpot_s']:.4f} s; "
            f"idle latency l from the arrival {row['l_arrival_s']:.2f} s, QoE {row['qoe']:.4f}"
            for name, row in (("A", a), ("B", b))
        ),
        limits=("By construction: a reader of 4 tokens/s. One faster than 10 tokens/s waits in both.",),
    )
    figure, axes = panels(1, 2, 2.3)
    for name, panel, times_s, row in zip("AB", axes, (A, B), rows, strict=True):
        title = f"{name}: TTFT {row['ttft_s']:.1f} s, gap ≤ {row['max_gap_s']:.0f} s, TPOT {row['tpot_s']:.3f} s"
        _draw(panel, times_s, f"{title}\nl = {row['l_arrival_s']:.2f} s, QoE {row['qoe']:.3f}")
    table = {
        "timeline": ["A"] * len(A) + ["B"] * len(B),
        "token": [*range(1, 21)] * 2,
        "time_s": np.concatenate([A, B]),
    }
    return Made(claim, {"timelines": figure}, {"timelines": table})


def _draw(axes: Axes, times_s: Floats, title: str) -> None:
    n = len(times_s)
    grid_s = np.linspace(0.0, n * READER.seconds_per_token, 2001)
    there = np.searchsorted(times_s, grid_s, side="right")
    wanted = np.floor(grid_s / READER.seconds_per_token + 1e-9)
    axes.step(grid_s, there, where="post", color=BLUE, label="tokens delivered")
    axes.step(grid_s, wanted, where="post", color=GREY, linestyle="--", linewidth=0.9, label="reader, 4 tokens/s")
    axes.fill_between(grid_s, there, wanted, where=list(wanted > there), step="post", color=RED, alpha=0.45,
                      linewidth=0, label="reader waits")  # fmt: skip
    axes.set_xlim(0, 5)
    finish(axes, x="time since arrival (s)", y="tokens", title=title, legend="lower right")


FIGURE = PaperFigure("timelines", "figures 1 and 2", plans, make, {"timelines": "01_02"})
