"""The abandonment paradox: giving up on requests raises attainment and goodput, and hardened smooth goodput not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draw import band, finish, legend_above, panels
from llmsim.figures.intervals import interval
from llmsim.figures.plan import Plan, Sweep, can_abandon, grid, means_by_rate
from llmsim.reports.plots.style import BLUE, ORANGE

STATEMENT = (
    "Under overload, abandoning requests that miss their SLO raises attainment and goodput; smooth goodput that "
    "charges for dropped requests does not rise"
)
#: loads well beyond saturation, which the claim is about
OVERLOAD = 1.2
#: a bound on gaps that chunked prefill can keep: attainment is then a matter of queueing
SLO = ("slo.tbt_s=0.2",)


def plans(quick: bool) -> tuple[Plan, ...]:
    """Each setting, chunked prefill, without and with abandonment; nothing where there is none."""
    if not can_abandon():
        return ()
    served = [replace(plan, changes=SLO) for plan in grid(quick, "chunked, 2048")]
    return tuple(plan for one in served for plan in (one, one.abandoning()))


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Compare every run with the one that gives up on requests, charged until the same end."""
    if not can_abandon():
        untested = Claim(
            6, STATEMENT, None, ("this version cannot simulate abandonment: scenarios have no such table",)
        )
        return Made(untested, {})
    chosen = plans(quick)
    pairs = [(sweeps[chosen[i]], sweeps[chosen[i + 1]]) for i in range(0, len(chosen), 2)]
    judged = [_judge(*pair) for pair in pairs]
    claim = Claim(
        claim=6,
        statement=STATEMENT,
        passed=judged[0][0],
        evidence=(judged[0][1],),
        limits=(
            *(f"{'also holds' if held else 'does not hold'}: {text}" for held, text in judged[1:]),
            "A dropped user is taken to wait until the end of the run that serves every request. To be charged "
            "only until the drop is a gain to the metric: that loophole is left open by `charge = until_drop`.",
        ),
    )
    return Made(claim, {"abandonment": _draw(*pairs[0])}, {"abandonment": _table(pairs)})


def _judge(served: Sweep, abandoning: Sweep) -> tuple[bool, str]:
    over = np.flatnonzero(np.array(served.plan.loads) >= OVERLOAD)
    at = int(over[0])
    share = 100 * (abandoning.values["attainment"] - served.values["attainment"])
    good = abandoning.values["goodput"] - served.values["goodput"]
    smooth = abandoning.smooth_goodput() - served.smooth_goodput()
    up = all(interval(x[i]).positive for x in (share, good) for i in over)
    rises = [float(served.rates_per_s[i]) for i in over if interval(smooth[i]).positive]
    text = (
        f"{served.plan.setting}, at {served.rates_per_s[at]:.2f} requests/s: attainment changes by "
        f"{interval(share[at])} points, goodput by {interval(good[at])} tokens/s, hardened smooth goodput by "
        f"{interval(smooth[at])} tokens/s; attainment and goodput rise at {'every' if up else 'not every'} rate beyond "
        f"saturation, hardened smooth goodput at {len(rises)} of {len(over)}"
    )
    return up and not rises, text


def _draw(served: Sweep, abandoning: Sweep) -> Any:
    figure, axes = panels(1, 3, 2.3)
    for sweep, label, colour, marker in ((served, "serves all", BLUE, "o"), (abandoning, "abandons", ORANGE, "s")):
        look: Any = {"label": label, "color": colour, "marker": marker}
        band(axes[0], sweep.rates_per_s, 100 * sweep.values["attainment"], **look)
        band(axes[1], sweep.rates_per_s, sweep.values["goodput"], **look)
        band(axes[2], sweep.rates_per_s, sweep.smooth_goodput(), **look)
    finish(axes[0], x="requests/s", y="SLO attainment (%)")
    finish(axes[1], x="requests/s", y="goodput (tokens/s)")
    finish(axes[2], x="requests/s", y="smooth goodput, hardened\n(tokens/s)")
    for panel in axes[:2]:
        panel.set_ylim(bottom=0)
    legend_above(figure, axes[0])
    return figure


def _table(pairs: list[tuple[Sweep, Sweep]]) -> dict[str, list[Any]]:
    return means_by_rate(
        (
            {"setting": sweep.plan.setting, "abandons": bool(abandons)},
            sweep,
            {name: sweep.values[name] for name in ("attainment", "goodput")}
            | {"smooth_goodput": sweep.smooth_goodput()},
        )
        for pair in pairs
        for abandons, sweep in enumerate(pair)
    )


FIGURE = PaperFigure("abandonment", "the second paradox", plans, make)
