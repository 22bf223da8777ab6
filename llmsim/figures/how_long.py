"""The third loophole: beyond capacity smooth goodput is a function of how long one measures; and two forms without it.

*Finite bursts*: however high the load within a burst, it is served to its end before the next. *The verge of
stability*: the highest rate at which runs are steady.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draw import band, finish, legend_above, panels, ticks_at, whiskers
from llmsim.figures.intervals import Interval, interval, peaks
from llmsim.figures.plan import SETTINGS, Plan, Sweep
from llmsim.record import Floats
from llmsim.reports.plots.style import COLOURS, GREY

SETTING = "sharegpt_llama"
HORIZONS_S = (60.0, 240.0, 1000.0, 4000.0)
#: requests/s, close together where the curves peak
RATES_PER_S = (2.6, 3.0, 3.2, 3.4, 3.6, 3.8, 4.1, 4.3, 4.6, 5.0, 5.6, 6.4)
QUICK_RATES_PER_S = (2.6, 3.0, 3.2, 3.6, 4.3, 5.0, 6.4)
#: beyond capacity, and where the shorter runs peak
BEYOND_PER_S = 4.3
#: bursts of so many seconds, from one to the next, and requests/s within them
BURST_S, EVERY_S = 20.0, 60.0
BURST_RATES_PER_S = (2.6, 3.4, 4.3, 5.0, 5.6)
#: seconds of arrivals over all seeds of a short run: with few requests each, means need many
TOGETHER_S, QUICK_TOGETHER_S = 4000.0, 1200.0
#: largest difference between lengths of a run that counts as the same answer
SAME = 0.05
MARKERS = "os^D"


def plans(quick: bool) -> tuple[Plan, ...]:
    """The paper's main setting, measured for ever longer, over all arrivals; then bursts, over whole ones."""
    rates = np.array(QUICK_RATES_PER_S if quick else RATES_PER_S)
    poisson = [
        Plan(SETTING, loads=_loads(rates), seeds=_seeds(quick, each), changes=("window={}",), horizon_s=each)
        for each in HORIZONS_S
    ]
    means = np.array(BURST_RATES_PER_S) * BURST_S / EVERY_S
    return (*poisson, *(_bursts(replace(plan, loads=_loads(means))) for plan in poisson))


def _loads(rates_per_s: Floats) -> tuple[float, ...]:
    return tuple((rates_per_s / SETTINGS[SETTING]).tolist())


def _seeds(quick: bool, horizon_s: float) -> int:
    return max(3 if quick else 5, round((QUICK_TOGETHER_S if quick else TOGETHER_S) / horizon_s))


def _bursts(plan: Plan) -> Plan:
    """The same over whole bursts and silences, as many as there is time for."""
    horizon_s = plan.horizon_s // EVERY_S * EVERY_S
    arrivals = f"workload.arrivals={{process='bursts',rate_per_s=1.0,burst_s={BURST_S},every_s={EVERY_S}}}"
    return replace(plan, horizon_s=horizon_s, changes=(arrivals, f"window={{start_s=0.0,end_s={horizon_s}}}"))


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Follow the peak, and the value at a fixed rate, as the run grows longer; and the same in the other forms."""
    found = [sweeps[plan] for plan in plans(quick)]
    poisson, bursts = found[: len(HORIZONS_S)], found[len(HORIZONS_S) :]
    at = [interval(peaks(sweep.rates_per_s, sweep.smooth_goodput())) for sweep in poisson]
    capacity, verge = _capacity(poisson[-1]), _verge(poisson[-1])
    beyond, steady, burst = _at(poisson, BEYOND_PER_S), _at(poisson, verge), _at(bursts, _mean_of(BEYOND_PER_S))
    falls = bool((np.diff([peak.mean for peak in at]) < 0).all()) and beyond[-1].mean < 0.5 * beyond[0].mean
    passed = falls and at[0].mean - at[0].half_width > capacity.mean and _same(steady) and _same(burst)
    claim = Claim(
        claim=11,
        statement="Beyond capacity the queue grows, so that smooth goodput depends on how long one measures: the "
        "longer, the lower is the rate at which it peaks, down to capacity. That of finite bursts, and that at the "
        f"highest rate with steady runs, stay within {100 * SAME:g} % of each other",
        passed=passed,
        evidence=(
            "peak at " + _told(at, poisson, "requests/s"),
            f"capacity: {capacity} requests/s (finished per second at the highest rate, in {HORIZONS_S[-1]:g} s)",
            f"at {BEYOND_PER_S:g} requests/s smooth goodput is {_told(beyond, poisson)}",
            f"in bursts of {BURST_S:g} s at {BEYOND_PER_S:g} requests/s, every {EVERY_S:g} s, {_told(burst, bursts)}",
            f"at {verge:g} requests/s, the highest rate with steady runs of {HORIZONS_S[-1]:g} s, "
            f"{_told(steady, poisson)}",
        ),
        limits=(
            "An optimum above capacity is one of the run's length, not of the system. Of bursts it is one of how long "
            "they last, which is part of the load and stated with it; llmsim plan --as stability finds the verge.",
            f"Short runs see few requests: intervals are over {', '.join(str(sweep.plan.seeds) for sweep in poisson)} "
            "seeds.",
        ),
    )
    return Made(claim, {"how_long": _draw(poisson, bursts, at, capacity)}, {"how_long": _table(poisson, bursts)})


def _capacity(sweep: Sweep) -> Interval:
    return interval(sweep.values["requests_per_s"][-1])


def _verge(sweep: Sweep) -> float:
    """The highest rate at which more than half of the runs are steady; the lowest one if there is none."""
    steady = np.flatnonzero(sweep.values["steady"].mean(axis=1) > 0.5)
    return float(sweep.rates_per_s[steady[-1] if len(steady) else 0])


def _mean_of(burst_rate_per_s: float) -> float:
    return burst_rate_per_s * BURST_S / EVERY_S


def _at(sweeps: Sequence[Sweep], rate_per_s: float) -> list[Interval]:
    """Smooth goodput nearest to a rate, of each length."""
    place = int(np.argmin(np.abs(sweeps[0].rates_per_s - rate_per_s)))
    return [interval(sweep.smooth_goodput()[place]) for sweep in sweeps]


def _same(values: Sequence[Interval]) -> bool:
    """Whether all lengths say the same as the longest."""
    last = values[-1].mean
    return max(abs(value.mean - last) for value in values) <= SAME * abs(last)


def _told(values: Sequence[Interval], sweeps: Sequence[Sweep], unit: str = "tokens/s") -> str:
    return ", ".join(f"{x} {unit} in {s.plan.horizon_s:g} s" for x, s in zip(values, sweeps, strict=True))


def _draw(poisson: list[Sweep], bursts: list[Sweep], at: list[Interval], capacity: Interval) -> Any:
    figure, (curves, peak, burst) = panels(1, 3, 2.4)
    for sweeps, axes, times in ((poisson, curves, 1.0), (bursts, burst, EVERY_S / BURST_S)):
        for sweep, colour, marker in zip(sweeps, COLOURS, MARKERS, strict=False):
            look: Any = {"color": colour, "marker": marker, "label": f"{sweep.plan.horizon_s:g} s of arrivals"}
            band(axes, times * sweep.rates_per_s, sweep.smooth_goodput(), **look)
    top = max(float(sweep.smooth_goodput().mean(axis=1).max()) for sweep in poisson)
    curves.set_ylim(-top, 1.1 * top)
    curves.axhline(0, color="black", linewidth=0.6)
    burst.set_ylim(bottom=0)
    for axes in (curves, burst):
        axes.axvline(capacity.mean, color=GREY, linestyle=":")
    finish(curves, x="requests/s", y="smooth goodput (tokens/s)", title="Poisson arrivals")
    finish(burst, x="requests/s within a burst", y="", title=f"{BURST_S:g} s of every {EVERY_S:g} s")
    whiskers(peak, HORIZONS_S, at, marker="o")
    peak.axhline(capacity.mean, color=GREY, linestyle=":", label="capacity")
    ticks_at(peak, HORIZONS_S)
    finish(peak, x="arrivals last (s)", y="rate of the peak (requests/s)", title="Where it peaks", legend="upper right")
    legend_above(figure, curves)
    return figure


def _table(poisson: list[Sweep], bursts: list[Sweep]) -> dict[str, list[Any]]:
    rows = [
        (form, sweep.plan.horizon_s, factor * rate, value, steady)
        for form, sweeps, factor in (("poisson", poisson, 1.0), ("bursts", bursts, EVERY_S / BURST_S))
        for sweep in sweeps
        for rate, value, steady in zip(
            sweep.rates_per_s.tolist(),
            sweep.smooth_goodput().mean(axis=1).tolist(),
            sweep.values["steady"].mean(axis=1).tolist(),
            strict=True,
        )
    ]
    heads = ("arrivals", "arrivals_last_s", "rate_per_s", "smooth_goodput_tokens_per_s", "steady_share")
    return {head: [row[place] for row in rows] for place, head in enumerate(heads)}


FIGURE = PaperFigure("how_long", "how long one measures", plans, make)
