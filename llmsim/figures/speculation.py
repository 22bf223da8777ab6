"""Speculative decoding: what it gains and when it costs, which metrics tell, and what adapting the drafts is worth.

Not of the paper, whose metrics judge it here: tokens of one step arrive together, so that the gaps of a stream may
get longer where the time per token gets shorter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsim.acceptance import PER_TOKEN
from llmsim.experiment import assemble
from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draw import band, finish, legend_above, panels
from llmsim.figures.intervals import interval
from llmsim.figures.plan import AS_IT_IS, Plan, Sweep, means_by_rate
from llmsim.latency.build import build_latency
from llmsim.latency.hardware import load_gpu, load_model
from llmsim.record import Floats
from llmsim.reports.plots.style import BLUE, GREY, ORANGE, RED
from llmsim.scenario import load_scenario

STATEMENT = (
    "Speculation more than halves a lone request's time per token, while at little load the tail of the gaps of "
    "streams gets longer. Its gain in a step falls with the number of requests that decode at once, below one if few "
    "drafts are accepted. At the same arrivals it rises up to the rate at which the instance without drafts saturates, "
    "and falls beyond; with few drafts accepted it turns below one, and a saturated instance serves less. Drafting by "
    "goodput is as good as the best fixed number. Of a mixture of experts a few requests gain least, and some hundred "
    "most"
)
SETTING = "speculation_llama"
LOADS, QUICK_LOADS = (0.03, 0.25, 0.5, 0.75, 1.0, 1.5), (0.03, 0.25, 0.5, 1.0, 1.5)
SEEDS, QUICK_SEEDS, HORIZON_S = 5, 3, 150.0
MOST = ("speculation.num_speculative_tokens=5", "scheduler.max_num_seqs=512")
#: of three drafted tokens less than one in eight is accepted
POOR = ("speculation.acceptance=null", "speculation.acceptance_length=1.3")
GOODPUT = "speculation.adapt=goodput"
#: of the capacity: below, the tail of the gaps is decode steps
LIGHT = 0.25
#: kinds whose steps are looked at alone: with many drafts accepted, and with few
STEPS = ("3 drafts", "few accepted")
#: what a fixed number may be better by
NEAR_PERCENT = 3.0
KINDS: dict[str, tuple[str, ...]] = {
    "none": ("speculation=null",),
    "1 draft": ("speculation.num_speculative_tokens=1",),
    "3 drafts": (),
    "5 drafts": MOST,
    "by goodput": (*MOST, GOODPUT),
    "few accepted": POOR,
    "few, by goodput": (*POOR, GOODPUT),
}
#: of steps alone: sequences, and their contexts
SEQUENCES, CONTEXT_TOKENS = tuple(2**n for n in range(11)), 1024
#: mixture of experts, and tokens that a step with three drafts yields of it
EXPERTS, LENGTH = "gpt-oss-120b", 2.76
#: where the gain of a step is taken to fall: by how much it may rise from one number of sequences to the next
ALIKE = 0.01


def plans(quick: bool) -> tuple[Plan, ...]:
    """Each kind of drafting, over the rates."""
    loads, seeds = (QUICK_LOADS, QUICK_SEEDS) if quick else (LOADS, SEEDS)
    return tuple(Plan(SETTING, AS_IT_IS, loads, seeds, changes, HORIZON_S) for changes in KINDS.values())


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Judge each part of the claim."""
    of = {kind: sweeps[plan] for kind, plan in zip(KINDS, plans(quick), strict=True)}
    steps, experts = {kind: speed_ups(KINDS[kind]) for kind in STEPS}, speed_ups_of_experts()
    judged = [_alone(of), _gaps(of), _by_batch(steps), _by_rate(of), _saturated(of), _adapting(of), _experts(experts)]
    claim = Claim(
        claim=12,
        statement=STATEMENT,
        passed=all(holds for holds, _ in judged),
        evidence=tuple(text for _, text in judged),
        limits=(
            _gaps_under_load(of),
            "Acceptance lengths are those measured of Kimi-K2.5's EAGLE-3 head on coding: other data accept less.",
        ),
    )
    return Made(claim, {"speculation": _draw(of, steps, experts)}, {"speculation": _table(of)})


def _alone(of: dict[str, Sweep]) -> tuple[bool, str]:
    gain = interval(_gain(of, "3 drafts")[0])
    rate = of["none"].rates_per_s[0]
    text = f"at {rate:g} requests/s mean TPOT is {gain} times shorter with three drafts"
    return gain.mean - gain.half_width > 2, text


def _gain(of: dict[str, Sweep], kind: str, name: str = "tpot_s_mean") -> Floats:
    """How many times shorter than without drafts, (R, S)."""
    return np.asarray(of["none"].values[name] / of[kind].values[name])


def _gaps(of: dict[str, Sweep]) -> tuple[bool, str]:
    """Of streams at little load: the tail of the gaps is longer where TPOT is shorter."""
    below = np.array(of["none"].plan.loads) <= LIGHT
    longer = 1 / _gain(of, "3 drafts", "tbt_s_p99")[below]
    shorter = _gain(of, "3 drafts")[below]
    text = (
        f"up to {LIGHT:g} of the capacity P99 of the gaps between chunks is {longer.min():.2f} to {longer.max():.2f} "
        f"times as long, and mean TPOT {shorter.min():.2f} to {shorter.max():.2f} times shorter"
    )
    return bool((longer > 1).all() and (shorter > 1).all()), text


def _gaps_under_load(of: dict[str, Sweep]) -> str:
    longer = (1 / _gain(of, "3 drafts", "tbt_s_p99")).mean(axis=1)
    told = ", ".join(f"{x:.2f} at {r:g}" for x, r in zip(longer, of["none"].rates_per_s, strict=True))
    return (
        f"P99 of the gaps, times as long with three drafts, by requests/s: {told}. Under load it is that of steps with "
        "prompts in them, and no longer worse."
    )


def speed_ups(changes: tuple[str, ...]) -> Floats:
    """How many times faster three drafts make a decode step of the setting yield tokens, (SEQUENCES,)."""
    scenario = load_scenario(f"related/{SETTING}", ["workload.requests=1", *changes])
    assembly = assemble(scenario)
    instance, acceptance = assembly.instances[0], assembly.workload.acceptance
    assert instance.speculation is not None
    assert acceptance is not None
    drafts = instance.speculation.most
    length, verifying = acceptance.lengths[0][drafts] / PER_TOKEN, instance.speculation.latency[drafts]
    steps = [((), n, n * CONTEXT_TOKENS) for n in SEQUENCES]
    return np.array([length * instance.latency.step_time_s(*step) / verifying.step_time_s(*step) for step in steps])


def _by_batch(steps: dict[str, Floats]) -> tuple[bool, str]:
    """The gain of a step alone, of so many sequences: it falls, and turns below one only if few drafts are accepted."""
    many, few = (steps[kind] for kind in STEPS)
    falls = all((gain[1:] <= (1 + ALIKE) * gain[:-1]).all() for gain in (many, few))
    told = ", ".join(f"{a:.2f} and {b:.2f} of {n}" for a, b, n in zip(many, few, SEQUENCES, strict=True))
    text = f"gains in the time of a step alone, with many and with few drafts accepted, by sequences: {told}"
    return bool(falls and many.min() > 1 and few[0] > 1 > few[-1]), text


def _by_rate(of: dict[str, Sweep]) -> tuple[bool, str]:
    """The gain at the same arrivals: finishing sooner keeps batches small, until both are saturated."""
    many, few = (_gain(of, kind).mean(axis=1) for kind in STEPS)
    # by Little's law: tokens a second, times the seconds of each, are those that decode at once
    at_once = {
        kind: (of[kind].values["throughput"] * of[kind].values["tpot_s_mean"]).mean(axis=1)
        for kind in ("none", STEPS[0])
    }
    told = ", ".join(
        f"{a:.2f} and {b:.2f} at {rate:g} ({none:,.1f} decode at once without drafts, {drafting:,.1f} with many)"
        for a, b, rate, none, drafting in zip(
            many, few, of["none"].rates_per_s, at_once["none"], at_once[STEPS[0]], strict=True
        )
    )
    peak = int(many.argmax())
    rises = 0 < peak < len(many) - 1 and bool((np.diff(many[: peak + 1]) > 0).all())
    text = f"gains of mean TPOT at the same arrivals, with many and with few accepted, by requests/s: {told}"
    return bool(rises and many[-1] < many[0] and few[0] > 1 > few[peak:].max()), text


def _saturated(of: dict[str, Sweep]) -> tuple[bool, str]:
    change = 100 * (of["few accepted"].values["throughput"] / of["none"].values["throughput"] - 1)
    alone = interval(_gain(of, "few accepted")[0])
    last = interval(change[-1])
    text = (
        f"with an acceptance length of 1.3 a lone request's TPOT is {alone} times shorter, and throughput at "
        f"{of['none'].rates_per_s[-1]:g} requests/s changes by {last} %"
    )
    return last.negative and alone.mean > 1, text


def _adapting(of: dict[str, Sweep]) -> tuple[bool, str]:
    """Drafting by goodput against the best fixed number at each rate, of mean TPOT."""
    worst = []
    for kind, fixed in (
        ("by goodput", ("none", "1 draft", "3 drafts", "5 drafts")),
        ("few, by goodput", ("none", "few accepted")),
    ):
        best = np.min([of[one].values["tpot_s_mean"].mean(axis=1) for one in fixed], axis=0)
        worst.append(100 * float((of[kind].values["tpot_s_mean"].mean(axis=1) / best - 1).max()))
    text = (
        f"by goodput mean TPOT is at most {worst[0]:.1f} % above the best fixed number's at any rate, and "
        f"{worst[1]:.1f} % where few drafts are accepted"
    )
    return max(worst) <= NEAR_PERCENT, text


def speed_ups_of_experts() -> Floats:
    """How many times faster three free drafts make a decode step of a mixture of experts yield tokens, (SEQUENCES,)."""
    plain = build_latency("table", load_gpu("h100-sxm-80gb"), load_model(EXPERTS))
    verifying = plain.speculating(4)
    steps = [((), n, n * CONTEXT_TOKENS) for n in SEQUENCES]
    return np.array([LENGTH * plain.step_time_s(*step) / verifying.step_time_s(*step) for step in steps])


def _experts(gains: Floats) -> tuple[bool, str]:
    least = int(np.argmin(gains[: len(gains) // 2]))
    most = least + int(np.argmax(gains[least:]))
    text = (
        f"{EXPERTS} on an H100, three free drafts: tokens come {gains[0]:.2f} times faster alone, "
        f"{gains[least]:.2f} times with {SEQUENCES[least]} sequences, {gains[most]:.2f} with {SEQUENCES[most]}, "
        f"{gains[-1]:.2f} with {SEQUENCES[-1]}"
    )
    return 0 < least < most < len(gains) - 1, text


def _draw(of: dict[str, Sweep], steps: dict[str, Floats], experts: Floats) -> Any:
    figure, axes = panels(1, 4, 2.3)
    looks = {"3 drafts": (BLUE, "o"), "few accepted": (RED, "v"), "by goodput": (ORANGE, "^")}
    rates = of["none"].rates_per_s
    for kind, (colour, marker) in looks.items():
        look: Any = {"color": colour, "marker": marker, "label": kind}
        band(axes[0], rates, _gain(of, kind), **look)
        band(axes[1], rates, 1 / _gain(of, kind, "tbt_s_p99"), **look)
        band(axes[2], rates, of[kind].values["throughput"], **look)
    band(axes[2], rates, of["none"].values["throughput"], color=GREY, linestyle="--")
    for panel in axes[:2]:
        panel.axhline(1, color="black", linewidth=0.6)
    for kind in STEPS:
        colour, marker = looks[kind]
        axes[3].plot(SEQUENCES, steps[kind], color=colour, marker=marker)
    axes[3].plot(SEQUENCES, experts, color=GREY, linestyle="--")
    axes[3].axhline(1, color="black", linewidth=0.6)
    axes[3].set_xscale("log", base=2)
    finish(axes[0], x="requests/s", y="mean TPOT:\ntimes shorter")
    finish(axes[1], x="requests/s", y="P99 ITL:\ntimes as long")
    finish(axes[2], x="requests/s", y="throughput (tokens/s)", title="dashed: no drafts")
    finish(axes[3], x="sequences", y="a step's tokens:\ntimes faster", title="dashed: experts")
    legend_above(figure, axes[0])
    return figure


def _table(of: dict[str, Sweep]) -> dict[str, list[Any]]:
    names = ("tpot_s_mean", "tbt_s_p50", "tbt_s_p99", "throughput")
    return means_by_rate(
        ({"drafting": kind}, sweep, {name: sweep.values[name] for name in names}) for kind, sweep in of.items()
    )


FIGURE = PaperFigure("speculation", "speculative decoding", plans, make)
