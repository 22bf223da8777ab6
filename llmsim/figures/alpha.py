"""Figure 11 of the paper: the more a user minds waiting (alpha), the lower the rate at which smooth goodput peaks."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draw import WORDS, band, finish, panels, ticks_at, whiskers
from llmsim.figures.intervals import Interval, interval, peaks
from llmsim.figures.plan import SETTINGS, Plan, Sweep, grid
from llmsim.reports.plots.style import BLUE, COLOURS

ALPHAS = (1.0, 2.5, 4.5, 10.0, 30.0)
MARKERS = "os^Dv"


def plans(quick: bool) -> tuple[Plan, ...]:
    """Each setting, prefill first."""
    return grid(quick, "prefill first")


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Follow the peak as alpha grows."""
    found = [sweeps[plan] for plan in plans(quick)]
    judged = [_judge(sweep) for sweep in found]
    (held, text), others = judged[0], judged[1:]
    claim = Claim(
        claim=3,
        statement="A larger alpha moves the peak of smooth goodput to a lower rate (reader of 5 tokens/s)",
        passed=held,
        evidence=(text,),
        limits=(
            *(f"{'also holds' if also else 'does not hold'}: {words}" for also, words in others),
            "The peak nears the saturation rate and stays there: below it hardly any reader waits, whatever alpha.",
        ),
    )
    table = {
        "setting": [sweep.plan.setting for sweep in found for _ in ALPHAS],
        "alpha": [*ALPHAS] * len(found),
        "peak_rate_per_s": [_peak(sweep, alpha).mean for sweep in found for alpha in ALPHAS],
        "half_width_95": [_peak(sweep, alpha).half_width for sweep in found for alpha in ALPHAS],
    }
    return Made(claim, {"alpha": _draw(found)}, {"alpha": table})


def _peak(sweep: Sweep, alpha: float) -> Interval:
    return interval(peaks(sweep.rates_per_s, sweep.smooth_goodput(alpha=alpha)))


def _judge(sweep: Sweep) -> tuple[bool, str]:
    at = np.array([peaks(sweep.rates_per_s, sweep.smooth_goodput(alpha=alpha)) for alpha in ALPHAS])
    falls = bool((np.diff(at.mean(axis=1)) <= 0).all())
    shift = interval(at[0] - at[-1])
    steps = ", ".join(f"{interval(row)} at alpha {alpha:g}" for alpha, row in zip(ALPHAS, at, strict=True))
    text = f"{sweep.plan.setting}: peak at {steps} (requests/s), from the first to the last lower by {shift}"
    return falls and shift.positive, text


def _draw(sweeps: list[Sweep]) -> Any:
    figure, (curves, peak) = panels(1, 2, 2.6)
    main = sweeps[0]
    for alpha, colour, marker in zip(ALPHAS, COLOURS, MARKERS, strict=False):
        look: Any = {"color": colour, "marker": marker, "label": f"α = {alpha:g}"}
        band(curves, main.rates_per_s, main.smooth_goodput(alpha=alpha), **look)
    curves.set_ylim(0, 1.15 * float(main.smooth_goodput(alpha=ALPHAS[0]).mean(axis=1).max()))
    finish(curves, x="requests/s", y="smooth goodput (tokens/s)", title=WORDS[main.plan.setting], legend="upper left")
    for sweep, colour, marker in zip(sweeps, (BLUE, *COLOURS[1:]), MARKERS, strict=False):
        at = [_peak(sweep, alpha) for alpha in ALPHAS]
        look = {"color": colour, "marker": marker, "label": WORDS[sweep.plan.setting]}
        whiskers(peak, ALPHAS, at, over=SETTINGS[sweep.plan.setting], **look)
    ticks_at(peak, ALPHAS)
    finish(peak, x="α (tokens/s)", y="rate of the peak ÷ saturation rate", title="Where it peaks", legend="upper right")
    return figure


FIGURE = PaperFigure("alpha", "figure 11", plans, make, {"alpha": "11"})
