"""The third loophole: beyond capacity smooth goodput is a function of how long one measures."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draw import band, finish, panels
from llmsim.figures.intervals import Interval, interval, peaks
from llmsim.figures.plan import SETTINGS, Plan, Sweep
from llmsim.record import Floats
from llmsim.reports.plots.style import COLOURS, GREY

SETTING = "sharegpt_llama"
HORIZONS_S = (60.0, 240.0, 1000.0, 4000.0)
QUICK_HORIZONS_S = HORIZONS_S[:3]
#: requests/s, close together where the curves peak
RATES_PER_S = (2.6, 3.0, 3.2, 3.4, 3.6, 3.8, 4.1, 4.3, 4.6, 5.0, 5.6, 6.4)
QUICK_RATES_PER_S = (2.6, 3.2, 3.6, 4.3, 5.0, 6.4)
#: beyond capacity, and where the shorter runs peak
BEYOND_PER_S = 4.3
MARKERS = "os^D"


def plans(quick: bool) -> tuple[Plan, ...]:
    """The paper's main setting, measured for ever longer, over all arrivals."""
    rates = QUICK_RATES_PER_S if quick else RATES_PER_S
    loads = tuple(rate / SETTINGS[SETTING] for rate in rates)
    horizons_s = QUICK_HORIZONS_S if quick else HORIZONS_S
    seeds = 3 if quick else 5
    return tuple(
        Plan(SETTING, loads=loads, seeds=seeds, changes=("window={}",), horizon_s=horizon_s) for horizon_s in horizons_s
    )


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Follow the peak, and the value at a fixed rate, as the run grows longer."""
    found = [sweeps[plan] for plan in plans(quick)]
    at = [_peak(sweep) for sweep in found]
    capacity = _capacity(found[-1])
    beyond = [interval(_at(sweep, BEYOND_PER_S)) for sweep in found]
    times = [f"{sweep.plan.horizon_s:g} s" for sweep in found]
    falls = bool((np.diff([peak.mean for peak in at]) < 0).all())
    passed = falls and at[0].mean - at[0].half_width > capacity.mean and beyond[-1].mean < 0.5 * beyond[0].mean
    claim = Claim(
        claim=11,
        statement="Beyond capacity the queue grows, so that smooth goodput depends on how long one measures: the "
        "longer, the lower is the rate at which it peaks, down to capacity",
        passed=passed,
        evidence=(
            "peak at " + ", ".join(f"{peak} requests/s in {time}" for peak, time in zip(at, times, strict=True)),
            f"capacity: {capacity} requests/s (finished per second at the highest rate, in {times[-1]})",
            f"at {BEYOND_PER_S:g} requests/s smooth goodput is "
            + ", ".join(f"{value} tokens/s in {time}" for value, time in zip(beyond, times, strict=True)),
        ),
        limits=(
            "An optimum above capacity is one of the run's length, not of the system: what does not hang on it is the "
            "curve over durations, as here, and smooth goodput at loads below capacity.",
            *(("Quick: runs of 4,000 s are left out.",) if quick else ()),
        ),
    )
    table = {
        "arrivals_last_s": [sweep.plan.horizon_s for sweep in found for _ in sweep.rates_per_s],
        "rate_per_s": [rate for sweep in found for rate in sweep.rates_per_s],
        "smooth_goodput_tokens_per_s": [value for sweep in found for value in sweep.smooth_goodput().mean(axis=1)],
    }
    return Made(claim, {"how_long": _draw(found, at, capacity)}, {"how_long": table})


def _peak(sweep: Sweep) -> Interval:
    return interval(peaks(sweep.rates_per_s, sweep.smooth_goodput()))


def _capacity(sweep: Sweep) -> Interval:
    return interval(sweep.values["requests_per_s"][-1])


def _at(sweep: Sweep, rate_per_s: float) -> Floats:
    values: Floats = sweep.smooth_goodput()[int(np.argmin(np.abs(sweep.rates_per_s - rate_per_s)))]
    return values


def _draw(sweeps: list[Sweep], at: list[Interval], capacity: Interval) -> Any:
    figure, (curves, peak) = panels(1, 2, 2.6)
    for sweep, colour, marker in zip(sweeps, COLOURS, MARKERS, strict=False):
        look: Any = {"color": colour, "marker": marker, "label": f"{sweep.plan.horizon_s:g} s of arrivals"}
        band(curves, sweep.rates_per_s, sweep.smooth_goodput(), **look)
    top = max(float(sweep.smooth_goodput().mean(axis=1).max()) for sweep in sweeps)
    curves.set_ylim(-top, 1.1 * top)
    curves.axhline(0, color="black", linewidth=0.6)
    curves.axvline(capacity.mean, color=GREY, linestyle=":")
    finish(curves, x="requests/s", y="smooth goodput (tokens/s)", title="5 tokens/s, α = 2.5", legend="lower left")
    horizons_s = [sweep.plan.horizon_s for sweep in sweeps]
    peak.errorbar(horizons_s, [x.mean for x in at], [x.half_width for x in at], marker="o", capsize=2, linewidth=1)
    peak.axhline(capacity.mean, color=GREY, linestyle=":", label="capacity")
    peak.set_xscale("log")
    peak.set_xticks(horizons_s, [f"{horizon_s:g}" for horizon_s in horizons_s])
    peak.minorticks_off()
    finish(peak, x="arrivals last (s)", y="rate of the peak (requests/s)", title="Where it peaks", legend="upper right")
    return figure


FIGURE = PaperFigure("how_long", "how long one measures", plans, make)
