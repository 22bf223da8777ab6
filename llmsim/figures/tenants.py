"""VTC (arXiv 2401.00588): fair shares for tenants under overload, at no cost in throughput."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draw import LOOKS, finish, panels, whiskers
from llmsim.figures.intervals import interval
from llmsim.figures.plan import Plan, Sweep
from llmsim.reports.plots.style import GREY

SETTING, LOAD = "tenants", 2.0
FAIR, FIRST_COME = ("VTC", "VTC, predicted"), "chunked, 2048"
HORIZONS_S = (60.0, 120.0, 240.0, 480.0)
#: of the setting: prompts of 256 tokens, 625 blocks of 16 tokens, weights 1 and 2
BOUND_TOKENS = 2 * max(1 * 256, 2 * 625 * 16)
#: requests/s that each tenant may ask for: half of what the instance can serve, and half of that
LIMITS_PER_S = (3.5, 1.75)


def limited(per_s: float) -> tuple[str, ...]:
    """A limit to the requests of each tenant, in place of a fair queue."""
    return (f"gateway.limits=[{{requests_per_s={per_s}, burst={60 * per_s}}}]",)


def plans(quick: bool) -> tuple[Plan, ...]:
    """Twice the load that can be served, for ever longer, under each policy; then first come with limits."""
    horizons_s, seeds = (HORIZONS_S[:3], 3) if quick else (HORIZONS_S, 8)
    queues = [
        Plan(SETTING, policy, (LOAD,), seeds, horizon_s=horizon_s)
        for policy in (*FAIR, FIRST_COME)
        for horizon_s in horizons_s
    ]
    limits = [
        Plan(SETTING, FIRST_COME, (LOAD,), seeds, changes=limited(per_s), horizon_s=horizons_s[-1])
        for per_s in LIMITS_PER_S
    ]
    return (*queues, *limits)


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Compare the gaps with the bound, their growth, and throughput."""
    found = [sweeps[plan] for plan in plans(quick)]
    queues, limits = found[: -len(LIMITS_PER_S)], found[-len(LIMITS_PER_S) :]
    of = {policy: [sweep for sweep in queues if sweep.plan.policy == policy] for policy in (*FAIR, FIRST_COME)}
    most = max(float(sweep.values["gap_tokens"].max()) for policy in FAIR for sweep in of[policy])
    shortest, longest = of[FIRST_COME][0], of[FIRST_COME][-1]
    growth = interval(longest.values["gap_tokens"][0] / shortest.values["gap_tokens"][0])
    times = longest.plan.horizon_s / shortest.plan.horizon_s
    throughput = interval(100 * (of["VTC"][-1].values["throughput"] / longest.values["throughput"] - 1)[0])
    claim = Claim(
        claim=10,
        statement="Under overload VTC keeps the service of two tenants that wait within 2 max(w_p L, w_q M) of each "
        "other, however long; first come, first served does not, and has no more throughput",
        passed=most <= BOUND_TOKENS and growth.mean > 0.6 * times and abs(throughput.mean) < 1,
        evidence=(
            f"largest gap of any run of VTC, with or without predictions: {most:,.0f} tokens of service; the bound is "
            f"{BOUND_TOKENS:,}",
            f"first come, first served: {_gap(shortest)} in {shortest.plan.horizon_s:g} s, {_gap(longest)} in "
            f"{longest.plan.horizon_s:g} s ({growth} x)",
            f"throughput of VTC: {throughput} % against first come, first served",
        ),
        limits=tuple(_limited(sweep, longest, per_s) for sweep, per_s in zip(limits, LIMITS_PER_S, strict=True)),
    )
    return Made(claim, {"tenants": _draw(of)}, {"tenants": _table(found)})


def _gap(sweep: Sweep) -> str:
    return f"{sweep.values['gap_tokens'][0].mean():,.0f} tokens"


def _limited(sweep: Sweep, unlimited: Sweep, per_s: float) -> str:
    change = interval(100 * (sweep.values["throughput"] / unlimited.values["throughput"] - 1)[0])
    return (
        f"A limit of {per_s:g} requests/s for each tenant, first come, first served: largest gap {_gap(sweep)}, "
        f"throughput {change} %; it is fair where it is tight, and then capacity lies idle"
    )


def _draw(of: dict[str, list[Sweep]]) -> Any:
    figure, (gaps, shares) = panels(1, 2, 2.4)
    for policy, sweeps in of.items():
        colour, marker = LOOKS[policy]
        horizons_s = [sweep.plan.horizon_s for sweep in sweeps]
        look: Any = {"color": colour, "marker": marker, "label": policy}
        for axes, name, factor in ((gaps, "gap_tokens", 1e-3), (shares, "throughput", 1.0)):
            found = [interval(factor * sweep.values[name][0]) for sweep in sweeps]
            whiskers(axes, horizons_s, found, **look)
    gaps.axhline(1e-3 * BOUND_TOKENS, color=GREY, linestyle=":", label="VTC's bound")
    gaps.set_yscale("log")
    finish(gaps, x="arrivals last (s)", y="largest gap of service\n(1000 tokens)", legend="best")
    shares.set_ylim(bottom=0)
    finish(shares, x="arrivals last (s)", y="throughput (tokens/s)")
    return figure


def _table(sweeps: list[Sweep]) -> dict[str, list[Any]]:
    names = ("gap_tokens", "jain", "throughput")
    rows = [(sweep, seed) for sweep in sweeps for seed in range(sweep.plan.seeds)]
    head: dict[str, list[Any]] = {
        "policy": [sweep.plan.policy for sweep, _ in rows],
        "changes": [" ".join(sweep.plan.changes) for sweep, _ in rows],
        "arrivals_last_s": [sweep.plan.horizon_s for sweep, _ in rows],
        "seed": [seed for _, seed in rows],
    }
    return head | {name: [float(np.ravel(sweep.values[name])[seed]) for sweep, seed in rows] for name in names}


FIGURE = PaperFigure("tenants", "VTC", plans, make)
