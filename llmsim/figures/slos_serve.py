"""SLOs-Serve (arXiv 2504.08784): admission by SLOs carries more load within them; whether users gain by that."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draw import WORDS, finish, legend_above, panels, policy_band
from llmsim.figures.intervals import crossing, interval
from llmsim.figures.plan import Plan, Sweep, labels, means_by_rate

MIXED, LOOSE = ("tight_decode", "tight_prefill"), "loose"
OTHERS = ("prefill first", "chunked, 2048", "chunked, 512")
OURS = "SLOs-Serve"
LOADS = (0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4)
QUICK_LOADS = (0.5, 0.8, 1.1, 1.4, 1.7, 2.0, 2.4)
TWO_LOADS = (3.2, 3.7, 4.2, 4.7, 5.2)
TWO = ("cluster.instances=2", "cluster.router=first_feasible")
#: share of requests within their SLO up to the capacity, and the gain in it that is claimed
SHARE, GAIN = 0.9, 1.3
#: at twice the capacity of the others: what ours is claimed to attain at least
LEFT = 0.4
QUICK_HORIZON_S = 150.0
#: the mixes have bursts; this makes their arrivals Poisson
POISSON = ("workload.arrivals.burstiness=1.0",)
#: where a token may take 0.5 s, batches as long as that keep so many requests in memory that it runs short
SHORTER = ("scheduler.max_num_batched_tokens=4096",)
POISSON_LOADS = (1.8, 2.1, 2.4, 2.7, 3.0)


def plans(quick: bool) -> tuple[Plan, ...]:
    """Each mix under every policy; then the mixes with Poisson arrivals, and two instances of the second."""
    loads, seeds, horizon_s = (QUICK_LOADS, 3, QUICK_HORIZON_S) if quick else (LOADS, 8, 300.0)
    alone = [
        Plan(setting, policy, loads, seeds, horizon_s=horizon_s)
        for setting in (*MIXED, LOOSE)
        for policy in (*OTHERS, OURS)
    ]
    poisson = [
        Plan(setting, policy, POISSON_LOADS, seeds, changes=POISSON, horizon_s=horizon_s)
        for setting in MIXED
        for policy in (*OTHERS[:2], OURS)
    ]
    shorter = Plan(LOOSE, OURS, loads, seeds, changes=SHORTER, horizon_s=horizon_s)
    return (*alone, shorter, *poisson, Plan(MIXED[1], OURS, TWO_LOADS, seeds, changes=TWO, horizon_s=horizon_s))


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Compare capacities, what is left at twice the load, and smooth goodput there."""
    found = [sweeps[plan] for plan in plans(quick)]
    width = len(OTHERS) + 1
    settings = [found[i : i + width] for i in range(0, width * (len(MIXED) + 1), width)]
    judged = [_judge(one) for one in settings[: len(MIXED)]]
    *others, longer = settings[-1]
    loose = _equal([*others, found[-8]])
    two = _two(settings[1][-1], found[-1])
    poisson = found[-7:-4], found[-4:-1]
    claim = Claim(
        claim=9,
        statement=f"Admission by declared SLOs carries at least {GAIN:g} x the load of prefill first and chunked "
        f"prefill at {100 * SHARE:g} % attainment where SLOs are mixed, as much where all are loose, and keeps "
        f"{100 * LEFT:g} % at twice the others' capacity; two instances with first_feasible carry more than twice one",
        passed=all(held for held, _ in (*judged, loose, two)),
        evidence=tuple(f"{'' if held else 'does not hold: '}{text}" for held, text in (*judged, loose, two)),
        limits=(
            *(_users(one) for one in settings[: len(MIXED)]),
            f"All loose: ours with steps of at most 4,096 tokens; with 8,192, {_gain([*others, longer])[1]}, as its "
            "batches last as long as a token may take, which keeps more requests in memory; 4,096 was the best of "
            "the sizes tried after that",
            f"Arrivals come in bursts (CV 2). Poisson: {'; '.join(map(_at_most, poisson))}",
            "Lengths are told to no scheduler here; the paper tells all of them. With speculation: claim 18.",
        ),
    )
    return Made(claim, {"slos_serve": _draw(settings[: len(MIXED)])}, {"slos_serve": _table(found)})


def capacity_per_s(sweep: Sweep) -> float:
    """Rate at which mean attainment falls through the share, requests/s; the highest one if it does not."""
    share = sweep.values["own_attainment"].mean(axis=1)
    at = crossing(sweep.rates_per_s, share - SHARE)
    if not np.isnan(at):
        return at
    return float(sweep.rates_per_s[-1] if share[-1] > SHARE else sweep.rates_per_s[0])


def _gain(sweeps: list[Sweep]) -> tuple[float, str, Sweep]:
    """How much more load ours carries than the best of the others, in words too, and which that is."""
    *others, ours = sweeps
    best = max(others, key=capacity_per_s)
    mine, theirs = capacity_per_s(ours), capacity_per_s(best)
    text = (
        f"{WORDS[ours.plan.setting]}: {mine:.2f} against {theirs:.2f} requests/s ({best.plan.policy}), "
        f"{mine / theirs:.2f} x"
    )
    return mine / theirs, text, best


def _at_most(sweeps: list[Sweep]) -> str:
    """What ours carries, and the most that any of them finishes under overload: more cannot be carried."""
    _, text, best = _gain(sweeps)
    most = max(float(sweep.values["requests_per_s"].mean(axis=1).max()) for sweep in sweeps)
    return f"{text}, where at most {most:.2f} are finished, {most / capacity_per_s(best):.2f} x"


def _judge(sweeps: list[Sweep]) -> tuple[bool, str]:
    ours = sweeps[-1]
    gain, text, best = _gain(sweeps)
    place = int(np.argmin(np.abs(ours.rates_per_s - 2 * capacity_per_s(best))))
    left = [interval(100 * sweep.values["own_attainment"][place]) for sweep in (ours, best)]
    at = f"at {ours.rates_per_s[place]:.1f} requests/s {left[0]} % against {left[1]} % attain their SLO"
    return gain >= GAIN and left[0].mean > 100 * LEFT, f"{text}; {at}"


def _equal(sweeps: list[Sweep]) -> tuple[bool, str]:
    gain, text, _ = _gain(sweeps)
    return gain > 0.95, text


def _two(one: Sweep, two: Sweep) -> tuple[bool, str]:
    ratio = capacity_per_s(two) / capacity_per_s(one)
    return ratio > 2, f"two instances with first_feasible: {capacity_per_s(two):.2f} requests/s, {ratio:.2f} x one"


def _users(sweeps: list[Sweep]) -> str:
    """Whether the gain is one for users: smooth goodput where others attain little."""
    *others, ours = sweeps
    smooth = {sweep.plan.policy: sweep.values["own_smooth_goodput_tokens_per_s"] for sweep in sweeps}
    best = max((sweep.plan.policy for sweep in others), key=lambda policy: smooth[policy][-1].mean())
    change = interval(smooth[OURS][-1] - smooth[best][-1])
    says = "more" if change.positive else "less" if change.negative else "no clear change"
    return (
        f"{WORDS[ours.plan.setting]}, users at {ours.rates_per_s[-1]:.1f} requests/s: hardened smooth goodput of "
        f"{interval(smooth[OURS][-1])} tokens/s, {change} against {best}: {says}; declined requests wait for others"
    )


def _draw(settings: list[list[Sweep]]) -> Any:
    figure, axes = panels(1, 2 * len(settings), 2.4)
    for place, sweeps in enumerate(settings):
        share, smooth = axes[2 * place : 2 * place + 2]
        for sweep in sweeps:
            rates, policy = sweep.rates_per_s, sweep.plan.policy
            policy_band(share, rates, 100 * sweep.values["own_attainment"], policy)
            policy_band(smooth, rates, sweep.values["own_smooth_goodput_tokens_per_s"], policy)
        share.axhline(100 * SHARE, color="black", linewidth=0.6)
        finish(share, x="requests/s", y="within own SLO (%)", title=WORDS[sweeps[0].plan.setting])
        finish(smooth, x="requests/s", y="smooth goodput\n(tokens/s)")
    legend_above(figure, axes[0])
    return figure


def _table(sweeps: list[Sweep]) -> dict[str, list[Any]]:
    names = ("own_attainment", "own_smooth_goodput_tokens_per_s", "throughput")
    return means_by_rate((labels(sweep.plan), sweep, {name: sweep.values[name] for name in names}) for sweep in sweeps)


FIGURE = PaperFigure("slos_serve", "SLOs-Serve", plans, make)
