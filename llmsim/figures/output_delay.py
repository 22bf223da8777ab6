"""Figure 9 of the paper: delaying tokens to the ITL bound makes ITL look better, and no user better off."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draw import band, finish, legend_above, panels
from llmsim.figures.intervals import interval
from llmsim.figures.numbers import READERS
from llmsim.figures.plan import Plan, Sweep, grid, labels, means_by_rate
from llmsim.record import Floats
from llmsim.reports.plots.style import BLUE, ORANGE

MAIN = "sharegpt_llama"
#: loads at which the delay is expected to help ITL: below saturation, where tokens are ahead and can be held
BELOW = 1.0


def plans(quick: bool) -> tuple[Plan, ...]:
    """Each setting, prefill first, whose stalls there are to hide; and other bounds, and chunks."""
    if quick:
        return grid(quick, "prefill first")
    others = Plan(MAIN, changes=("slo.tbt_s=0.2",)), Plan(MAIN, "chunked, 2048", changes=("slo.tbt_s=0.05",))
    return (*grid(quick, "prefill first"), *others)


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Compare every run with itself under output delay."""
    found = [sweeps[plan] for plan in plans(quick)]
    judged = [_judge(sweep) for sweep in found]
    (held, text), others = judged[0], judged[1:]
    claim = Claim(
        claim=5,
        statement="Output delay to the ITL bound lowers tail ITL and raises ITL attainment, no token arrives earlier, "
        "and smooth goodput does not rise",
        passed=held,
        evidence=(text,),
        limits=(
            *(f"{'also holds' if also else 'does not hold'}: {words}" for also, words in others),
            "The gain in ITL is judged up to saturation. Beyond it tokens come about as slowly as the bound allows, "
            "none are ahead to hold, and the gain fades. That no token is earlier and smooth goodput does not rise "
            "holds at every rate.",
        ),
    )
    return Made(claim, {"output_delay": _draw(found[0])}, {"output_delay": _table(found)})


def _judge(sweep: Sweep) -> tuple[bool, str]:
    values, below = sweep.values, np.array(sweep.plan.loads) <= BELOW
    tail = values["tbt_s_p99"] - values["paced_tbt_s_p99"]
    share = values["paced_attainment_tbt_s"] - values["attainment_tbt_s"]
    earlier = int(values["paced_earlier_tokens"].sum())
    change = {v: sweep.smooth_goodput(v, paced=True) - sweep.smooth_goodput(v) for v in READERS}
    rises = max(float(x.max()) for x in change.values())
    # Where the tail is within the bound there is nothing to improve: the delay may only bring it up to the bound.
    helps = bool((tail[below].mean(axis=1) > 0).sum() >= below.sum() - 1) and bool(
        (share[below].mean(axis=1) >= 0).all()
    )
    at = int(np.flatnonzero(below)[-1])
    label = ", ".join((sweep.plan.setting, sweep.plan.policy, *sweep.plan.changes))
    losses = ", ".join(f"{interval(x[at])} (reader of {v:g})" for v, x in change.items())
    text = (
        f"{label}, at {sweep.rates_per_s[at]:.2f} requests/s: P99 ITL falls by {interval(1e3 * tail[at])} ms, ITL "
        f"attainment rises by {interval(100 * share[at])} points; smooth goodput changes by {losses} tokens/s; at all "
        f"rates {earlier} tokens arrive earlier and the largest rise of smooth goodput is {rises:.2g} tokens/s"
    )
    return helps and earlier == 0 and rises <= 1e-6, text


def _draw(sweep: Sweep) -> Any:
    figure, axes = panels(1, 4, 2.2)
    rates, values = sweep.rates_per_s, sweep.values
    pairs = (("as emitted", BLUE, "o", ""), ("delayed", ORANGE, "s", "paced_"))
    for label, colour, marker, prefix in pairs:
        look: Any = {"color": colour, "marker": marker, "label": label}
        band(axes[0], rates, 1e3 * values[f"{prefix}tbt_s_p99"], **look)
        band(axes[1], rates, 100 * values[f"{prefix}attainment_tbt_s"], **look)
        for panel, speed in ((axes[2], 5.0), (axes[3], 30.0)):
            band(panel, rates, sweep.smooth_goodput(speed, paced=bool(prefix)), **look)
    axes[0].set_ylim(bottom=0)
    axes[1].set_ylim(0, 102)
    finish(axes[0], x="requests/s", y="P99 ITL (ms)")
    finish(axes[1], x="requests/s", y="requests within\nITL bound of 100 ms (%)")
    for panel, speed in ((axes[2], 5), (axes[3], 30)):
        panel.set_ylim(bottom=0)
        finish(panel, x="requests/s", y="smooth goodput\n(tokens/s)", title=f"reader: {speed} tokens/s")
    legend_above(figure, axes[0])
    return figure


def _table(sweeps: list[Sweep]) -> dict[str, list[Any]]:
    return means_by_rate((labels(sweep.plan), sweep, _columns(sweep)) for sweep in sweeps)


def _columns(sweep: Sweep) -> dict[str, Floats]:
    out: dict[str, Floats] = {}
    for prefix in ("", "paced_"):
        out |= {prefix + name: sweep.values[prefix + name] for name in ("tbt_s_p50", "tbt_s_p99", "attainment_tbt_s")}
        out |= {
            f"{prefix}smooth_goodput_{speed:g}": sweep.smooth_goodput(speed, paced=bool(prefix)) for speed in READERS
        }
    return out


FIGURE = PaperFigure("output_delay", "figure 9", plans, make, {"output_delay": "09"})
