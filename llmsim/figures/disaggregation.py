"""Prefill on one instance, decode on another: what a slow network or a small decode side costs, and which metrics tell.

A request's first token comes from the prefill side; its second one when its keys and values have crossed the network
and the decode side has memory for them. That wait is one gap among hundreds, the tokens come all the same, later: so
throughput, TTFT and the tail of all gaps hardly change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draw import band, finish, legend_above, panels
from llmsim.figures.intervals import Interval, interval
from llmsim.figures.plan import Plan, Sweep
from llmsim.record import Floats
from llmsim.reports.plots.style import BLUE, GREY, ORANGE, RED

STATEMENT = (
    "Disaggregated prefill and decode: smooth goodput (5 tokens/s, alpha 2.5) exposes migrations and preemptions that "
    "hurt users while throughput metrics look fine"
)
#: throughput looks fine while it loses less than this
FINE_PERCENT = 1.0
HORIZON_S, SEEDS, QUICK_SEEDS = 1200.0, 10, 5
LINK, BLOCKS, BURSTINESS = "kv_transfer.bandwidth_gb_per_s", "pool.1.num_gpu_blocks", "workload.arrivals.burstiness"
BLOCK_TOKENS = 16
#: network, GB/s, and KV blocks on the decode side, from ample to scarce
LINKS = (10.0, 5.0, 2.5, 1.25)
MEMORIES = (4000, 3000, 2500, 2000)
#: what is judged: 10 Gbit/s; and about the blocks that an A100 of 40 GB would have left for Qwen2.5-14B
SLOW, SMALL = f"{LINK}=1.25", f"{BLOCKS}=2000"


@dataclass(frozen=True)
class Pair:
    """Runs as they are, and the same requests with an ample network and memory."""

    sweep: Sweep
    ample: Sweep

    def change_percent(self, name: str) -> Floats:
        """Change of a number against the ample run of the same seed, in percent, (S,)."""
        change: Floats = 100 * (self.sweep.values[name][0] / self.ample.values[name][0] - 1)
        return change

    def smooth_percent(self, tokens_per_s: float = 5.0, alpha: float = 2.5) -> Floats:
        """Change of smooth goodput, in percent, (S,)."""
        now, then = (x.smooth_goodput(tokens_per_s, alpha)[0] for x in (self.sweep, self.ample))
        change: Floats = 100 * (now / then - 1)
        return change

    @property
    def label(self) -> str:
        """Its setting and what was changed."""
        return ", ".join((self.sweep.plan.setting, *self.sweep.plan.changes))


def _plan(quick: bool, *changes: str, setting: str = "disaggregated_qwen") -> Plan:
    return Plan(setting, loads=(1.0,), seeds=QUICK_SEEDS if quick else SEEDS, changes=changes, horizon_s=HORIZON_S)


def _pairs(quick: bool) -> list[tuple[Plan, Plan]]:
    """What is compared with what: the two that are judged, one that mends the second, and how far it holds."""
    ample, others = _plan(quick), []
    if not quick:
        steady, code = _plan(quick, f"{BURSTINESS}=1.0"), _plan(quick, setting="disaggregated_llama")
        others += [(_plan(quick, change, f"{BURSTINESS}=1.0"), steady) for change in (SLOW, SMALL)]
        scarce = f"{LINK}=1.8", f"{BLOCKS}=500"
        others += [(_plan(quick, change, setting="disaggregated_llama"), code) for change in scarce]
    mended = _plan(quick, SMALL, "kv_transfer.when_full=fall_back")
    return [(_plan(quick, SLOW), ample), (_plan(quick, SMALL), ample), (mended, ample), *others]


def _lines(quick: bool) -> tuple[list[Plan], list[Plan]]:
    return [_plan(quick, f"{LINK}={x:g}") for x in LINKS], [_plan(quick, f"{BLOCKS}={x}") for x in MEMORIES]


def plans(quick: bool) -> tuple[Plan, ...]:
    """The two lines of the picture, and the pairs."""
    pairs = (plan for pair in _pairs(quick) for plan in pair)
    return tuple(dict.fromkeys((*pairs, *(plan for line in _lines(quick) for plan in line))))


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Compare every run with the one that has ample network and memory."""
    pairs = [Pair(sweeps[plan], sweeps[ample]) for plan, ample in _pairs(quick)]
    migrated, preempted, mended, *others = pairs
    claim = Claim(
        claim=8,
        statement=STATEMENT,
        passed=_exposed(migrated) and _exposed(preempted) and _hurt(preempted).positive,
        evidence=(f"{_text(migrated)}; {_handover(migrated)}", f"{_text(preempted)}; {_preemptions(preempted)}"),
        limits=(
            *(f"{'also seen' if _exposed(pair) else 'not seen'}: {_text(pair)}" for pair in others),
            f"What no throughput tells: sending requests back when decode is full mends it. {_text(mended)}",
            "Per-request metrics are not blind to it: the median TPOT rises too. Throughput looks fine, and TTFT, "
            "which the prefill side decides; P99 ITL only where a request has hundreds of gaps and loses one.",
            "Requests are preempted in bursts, when users wait for memory too: not all their wait is the preemption.",
            "An answer of some 200 tokens is worth 200, a second's wait alpha: with 2.5 only long waits show.",
        ),
    )
    lines = [[Pair(sweeps[plan], migrated.ample) for plan in line] for line in _lines(quick)]
    return Made(claim, {"disaggregation": _draw(*lines)}, {"disaggregation": _table([*pairs, *lines[0], *lines[1]])})


def _exposed(pair: Pair) -> bool:
    """Throughput looks fine, and smooth goodput loses more."""
    throughput, requests = (pair.change_percent(name) for name in ("throughput", "requests_per_s"))
    fine = min(float(throughput.mean()), float(requests.mean())) > -FINE_PERCENT
    return fine and interval(throughput - pair.smooth_percent()).positive


def _text(pair: Pair) -> str:
    tail_ms = 1e3 * (pair.sweep.values["tbt_s_p99"] - pair.ample.values["tbt_s_p99"])[0]
    changes = {
        name: f"{interval(pair.change_percent(name))} %"
        for name in ("throughput", "requests_per_s", "ttft_s_mean", "tpot_s_p50")
    }
    return (
        f"{pair.label}: throughput changes by {changes['throughput']}, requests/s by {changes['requests_per_s']}, mean "
        f"TTFT by {changes['ttft_s_mean']}, P99 ITL by {interval(tail_ms)} ms; smooth goodput by "
        f"{interval(pair.smooth_percent())} % (alpha 10: {interval(pair.smooth_percent(alpha=10.0))} %), median TPOT "
        f"by {changes['tpot_s_p50']}"
    )


def _handover(pair: Pair) -> str:
    now, then = (interval(x.values["handover_s_mean"][0]) for x in (pair.sweep, pair.ample))
    return f"from its first token a request takes {now} s to the decode side, not {then}"


def _hurt(pair: Pair) -> Interval:
    """How much later users are whose requests were preempted, s; seeds without any have none to tell."""
    values = pair.sweep.values
    later_s = (values["late_s_preempted"] - values["late_s_others"])[0]
    return interval(later_s[~np.isnan(later_s)])


def _preemptions(pair: Pair) -> str:
    share = interval(100 * pair.sweep.values["preempted"][0])
    return f"{share} % of requests are preempted, whose users wait {_hurt(pair)} s longer than the others"


def _draw(links: Sequence[Pair], memories: Sequence[Pair]) -> Any:
    figure, axes = panels(1, 4, 2.5)
    x_links, x_memories = np.array(LINKS), np.array(MEMORIES) * BLOCK_TOKENS / 1000
    for panel, x, line in ((axes[0], x_links, links), (axes[2], x_memories, memories)):
        throughput = _stack(pair.change_percent("throughput") for pair in line)
        band(panel, x, throughput, color=GREY, marker="s", linestyle="--", label="throughput")
        for alpha, colour, marker in ((2.5, BLUE, "o"), (10.0, ORANGE, "^")):
            look: Any = {"color": colour, "marker": marker, "label": f"smooth goodput, α = {alpha:g}"}
            band(panel, x, _stack(pair.smooth_percent(alpha=alpha) for pair in line), **look)
    waits_s = _stack(pair.sweep.values["handover_s_mean"][0] for pair in links)
    band(axes[1], x_links, waits_s, color=RED, marker="o")
    band(
        axes[3], x_memories, _stack(100 * pair.sweep.values["preempted"][0] for pair in memories), color=RED, marker="o"
    )
    change = "change against\nample (%)"
    words = ((change, "slower network"), ("first token to\ndecode (s)", "its migrations"),
             (change, "less decode memory"), ("requests\npreempted (%)", "its preemptions"))  # fmt: skip
    for i, (panel, (y, title)) in enumerate(zip(axes, words, strict=True)):
        x, name = (x_links, "network (GB/s)") if i < 2 else (x_memories, "KV (1000 tokens)")
        panel.set_xscale("log")
        panel.set_xticks(x, [f"{value:g}" for value in x])
        panel.minorticks_off()
        panel.invert_xaxis()
        finish(panel, x=name, y=y, title=title)
    legend_above(figure, axes[0])
    return figure


def _stack(rows: Iterable[Floats]) -> Floats:
    return np.stack(list(rows))


def _table(pairs: Sequence[Pair]) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {"setting": [], "changes": [], "seed": []}
    names = ("throughput", "requests_per_s", "ttft_s_mean", "tbt_s_p99", "tpot_s_p50", "handover_s_mean", "preempted")
    for sweep in {pair.sweep.plan: pair.sweep for pair in pairs}.values():
        out["setting"] += [sweep.plan.setting] * sweep.plan.seeds
        out["changes"] += [" ".join(sweep.plan.changes)] * sweep.plan.seeds
        out["seed"] += [*range(sweep.plan.seeds)]
        for name in names:
            out.setdefault(name, []).extend(sweep.values[name][0].tolist())
        out.setdefault("smooth_goodput", []).extend(sweep.smooth_goodput()[0].tolist())
    return out


FIGURE = PaperFigure("disaggregation", "the disaggregated set-up", plans, make)
