"""Figures 5 and 6 of the paper: existing metrics name no operating point, smooth goodput does."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draw import band, finish, legend_above, panels, policy_band
from llmsim.figures.intervals import interval, peaks
from llmsim.figures.plan import Plan, Sweep, grid
from llmsim.record import Floats
from llmsim.reports.plots.style import BLUE, GREY

POLICIES = ("prefill first", "chunked, 2048")
#: name in Sweep.values -> words, factor to the unit shown
LATENCIES = {
    "ttft_s_mean": ("mean TTFT (s)", 1.0),
    "tpot_s_mean": ("mean TPOT (ms)", 1e3),
    "tpot_s_p50": ("median TPOT (ms)", 1e3),
    "tbt_s_p50": ("median ITL (ms)", 1e3),
    "tbt_s_p99": ("P99 ITL (ms)", 1e3),
    "queueing_s_mean": ("mean queueing (s)", 1.0),
}
#: a throughput that stays within this of its best up to the highest rate has no best rate of its own
FLAT = 0.02


def plans(quick: bool) -> tuple[Plan, ...]:
    """Each setting under both policies."""
    return grid(quick, *POLICIES)


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Judge every setting; the first one decides, the others are limits."""
    found = [_judge(sweeps[plan]) for plan in plans(quick)]
    main, others = found[: len(POLICIES)], found[len(POLICIES) :]
    claim = Claim(
        claim=2,
        statement="Throughput, TTFT, TPOT, ITL and queueing are best at an end of the range of rates and name no "
        "operating point; smooth goodput (5 tokens/s, alpha 2.5) rises, peaks at a middle rate and falls",
        passed=all(held for held, _, _ in main),
        evidence=tuple(text for _, text, _ in main),
        limits=(
            *(f"{'also holds' if held else 'does not hold'}: {text}" for held, text, _ in others),
            *(note for _, _, notes in found for note in notes),
            "Rates beyond saturation are judged over 300 s of arrivals: a longer overload queues longer, and moves the "
            "peak towards the saturation rate.",
        ),
    )
    main_sweeps = [sweeps[plan] for plan in plans(quick)[: len(POLICIES)]]
    return Made(
        claim,
        {
            "metrics_against_rate": _draw_latencies(main_sweeps),
            "smooth_goodput_against_rate": _draw_smooth(main_sweeps),
        },
        {"metrics_against_rate": _table([sweeps[plan] for plan in plans(quick)])},
    )


def _judge(sweep: Sweep) -> tuple[bool, str, list[str]]:
    """Whether the claim holds on one sweep, the evidence, and where metrics are not even monotone."""
    rates, smooth = sweep.rates_per_s, sweep.smooth_goodput()
    latencies_first = {name: _best_first(sweep.values[name]) for name in LATENCIES}
    drop = _drop(sweep.values["throughput"])
    top = int(np.argmax(smooth.mean(axis=1)))
    gains = [interval(smooth[top] - smooth[end]) for end in (0, -1)]
    inside = 0 < top < len(rates) - 1 and all(gain.positive for gain in gains)
    made = interval(peaks(rates, sweep.smooth_goodput(window="makespan")))
    text = (
        f"{_label(sweep)}: smooth goodput peaks at {interval(peaks(rates, smooth))} requests/s "
        f"({made} if divided by the makespan), {gains[0]} tokens/s above the lowest rate and {gains[1]} above the "
        f"highest; {sum(latencies_first.values())} of {len(LATENCIES)} latencies are best at the lowest rate; "
        f"throughput at the highest rate is {100 * drop:.1f} % below its best"
    )
    notes = [
        f"{_label(sweep)}: {words} is not monotone: it falls by {100 * fall:.0f} % of its range as the rate grows"
        for name, (words, _) in LATENCIES.items()
        if (fall := _fall(sweep.values[name])) > 0.05
    ]
    return inside and all(latencies_first.values()) and drop <= FLAT, text, notes


def _label(sweep: Sweep) -> str:
    return f"{sweep.plan.setting}, {sweep.plan.policy}"


def _best_first(values: Floats) -> bool:
    return int(np.argmin(values.mean(axis=1))) == 0


def _drop(throughput: Floats) -> float:
    mean = throughput.mean(axis=1)
    return float(1 - mean[-1] / mean.max())


def _fall(values: Floats) -> float:
    """Largest fall of a latency as the rate grows, as a share of its range."""
    mean = values.mean(axis=1)
    return float(np.max(np.maximum.accumulate(mean) - mean) / np.ptp(mean))


def _draw_latencies(sweeps: list[Sweep]) -> Any:
    figure, axes = panels(2, 4, 3.8)
    shown = {"throughput": ("throughput (tokens/s)", 1.0), **LATENCIES}
    for panel, (name, (words, factor)) in zip(axes, shown.items(), strict=False):
        log = name in ("ttft_s_mean", "queueing_s_mean")
        for sweep in sweeps:
            policy_band(panel, sweep.rates_per_s, factor * sweep.values[name], sweep.plan.policy, log=log)
        finish(panel, x="requests/s", y=words)
    for sweep in sweeps:
        policy_band(axes[-1], sweep.rates_per_s, sweep.smooth_goodput(), sweep.plan.policy)
    axes[-1].set_ylim(bottom=0)
    finish(axes[-1], x="requests/s", y="smooth goodput\n(tokens/s)")
    legend_above(figure, axes[0])
    return figure


def _draw_smooth(sweeps: list[Sweep]) -> Any:
    figure, axes = panels(1, len(sweeps), 2.5)
    for panel, sweep in zip(axes, sweeps, strict=True):
        rates, smooth = sweep.rates_per_s, sweep.smooth_goodput()
        at = interval(peaks(rates, smooth))
        tokens = sweep.values["tokens_arrivals"]
        band(panel, rates, tokens, color=GREY, linestyle="--", label="tokens asked for by the arrivals")
        band(panel, rates, smooth, color=BLUE, marker="o", label="smooth goodput (5 tokens/s, α = 2.5)")
        panel.axvspan(at.mean - at.half_width, at.mean + at.half_width, color=BLUE, alpha=0.15, linewidth=0)
        panel.axvline(at.mean, color=BLUE, linewidth=0.8)
        panel.set_ylim(bottom=0)
        finish(panel, x="requests/s", y="tokens/s", title=f"{sweep.plan.policy}: peak at {at} requests/s")
    legend_above(figure, axes[0])
    return figure


def _table(sweeps: list[Sweep]) -> dict[str, list[Any]]:
    """One row per setting, policy, rate and seed: everything that was measured."""
    columns: dict[str, list[Any]] = {"setting": [], "policy": [], "rate_per_s": [], "seed": [], "smooth_goodput": []}
    names = ("throughput", *LATENCIES, "attainment", "goodput")
    columns |= {name: [] for name in names}
    for sweep in sweeps:
        seeds, rates = sweep.plan.seeds, sweep.rates_per_s
        columns["setting"] += [sweep.plan.setting] * (seeds * len(rates))
        columns["policy"] += [sweep.plan.policy] * (seeds * len(rates))
        columns["rate_per_s"] += np.repeat(rates, seeds).tolist()
        columns["seed"] += [*range(seeds)] * len(rates)
        columns["smooth_goodput"] += sweep.smooth_goodput().ravel().tolist()
        for name in names:
            columns[name] += sweep.values[name].ravel().tolist()
    return columns


NUMBERS = {"metrics_against_rate": "05", "smooth_goodput_against_rate": "06"}
FIGURE = PaperFigure("metrics_against_rate", "figures 5 and 6", plans, make, NUMBERS)
