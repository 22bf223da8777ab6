"""RouterBench (arXiv 2403.12031) with queues: what a router between two models is worth depends on the load."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draw import finish, panels
from llmsim.figures.intervals import Interval, interval
from llmsim.figures.plan import AS_IT_IS, Plan, Sweep
from llmsim.record import Floats
from llmsim.reports.plots.style import BLUE, GREEN, GREY, ORANGE, RED
from llmsim.statistics.cost_quality import Point, aiq, hull, quality_at

SETTING = "routing"
#: light, where the large model could take most requests, and where it can take about 40 % of them
LOADS = (0.25, 1.0, 2.0)
#: at which both models alone are saturated: a request's GPU time there is its price
FULL = 5.0
#: standard deviations of a predictor's error: one that helps, one that hardly does
ERRORS = (0.3, 1.5)
THRESHOLDS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
JUDGES = (0.0, 0.1, 0.2, 0.3, 0.5)
SHARES = (0.25, 0.5, 0.75)
PREDICTED = f"threshold, error {ERRORS[0]:g}"
#: a judge that errs as rarely as this is claimed to be worth a cascade
GOOD_JUDGE = 0.1


def mixture(large: float) -> tuple[str, ...]:
    """A share of the requests for the large model, at random."""
    shares = {"small": 1 - large, "large": large}
    told = ", ".join(f"{pool}={share}" for pool, share in shares.items() if share)
    return (f"router={{name='mixture', shares={{{told}}}}}",)


def threshold(error: float, least: float) -> tuple[str, ...]:
    """A predictor with this error, and how good its prediction must be for the small model."""
    return (
        f"router={{name='threshold', pools=['small','large'], threshold={least}}}",
        f"quality.prediction_error={error}",
    )


def cascade(error: float) -> tuple[str, ...]:
    """A judge that errs as often."""
    return (f"router={{name='cascade', pools=['small','large'], judge_error={error}}}",)


ALONE = (mixture(0.0), mixture(1.0))
#: name -> the choices that it has
ROUTERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "random mix": tuple(mixture(share) for share in SHARES),
    **{f"threshold, error {error:g}": tuple(threshold(error, least) for least in THRESHOLDS) for error in ERRORS},
    "cascade": tuple(cascade(error) for error in JUDGES),
}
LOOKS = dict(zip(ROUTERS, ((GREY, "x"), (BLUE, "o"), (GREEN, "^"), (RED, "D")), strict=True))


def plans(quick: bool) -> tuple[Plan, ...]:
    """Each model alone, then each choice of each router, at each load; and what a request of either model costs."""
    seeds, horizon_s = (3, 60.0) if quick else (8, 240.0)
    prices = [Plan(SETTING, AS_IT_IS, (FULL,), seeds, changes=one, horizon_s=horizon_s / 4) for one in ALONE]
    choices = [*ALONE, *(choice for each in ROUTERS.values() for choice in each)]
    return (*prices, *(Plan(SETTING, AS_IT_IS, LOADS, seeds, changes=one, horizon_s=horizon_s) for one in choices))


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Compare routers in the plane of cost and quality, then by what comes within the SLO at each load."""
    found = [sweeps[plan] for plan in plans(quick)]
    price = np.array([sweep.values["gpu_s"].mean() for sweep in found[:2]])
    alone = found[2:4]
    rest = iter(found[4:])
    of = {name: [next(rest) for _ in choices] for name, choices in ROUTERS.items()}
    ends = [_point(sweep, price) for sweep in alone]
    gains = {error: _gain(sweep, alone, price) for error, sweep in zip(JUDGES, of["cascade"], strict=True)}
    best = [_best([*alone, *(sweep for sweeps in of.values() for sweep in sweeps)], at) for at in range(len(LOADS))]
    waits = _in_slo(of["cascade"][0]) - max((_in_slo(sweep) for sweep in of[PREDICTED]), key=np.mean)
    claim = Claim(
        claim=16,
        statement=f"A cascade whose judge errs in {100 * GOOD_JUDGE:g} % of cases beats random mixes of its models at "
        "the same cost, one whose judge guesses does not; but its users wait for two answers, so that within the SLO a "
        "router that predicts is worth more; and the higher the load, the less the large model is best asked",
        passed=all(gains[error].positive for error in JUDGES if error <= GOOD_JUDGE)
        and not gains[JUDGES[-1]].positive
        and interval(waits).negative
        and best[-1][1] < best[0][1],
        evidence=(
            f"a request costs {price[0]:.3f} GPU s of the small model, {price[1]:.3f} of the large one (saturated); "
            f"alone they answer {100 * ends[0][1]:.1f} and {100 * ends[1][1]:.1f} % right",
            "cascade against a random mix of equal cost, points of quality, by the judge's error: "
            + "; ".join(f"{100 * error:g} %: {gain}" for error, gain in gains.items()),
            "AIQ between these costs: " + "; ".join(f"{name} {_aiq(ends, of[name], price):.3f}" for name in of),
            f"within the SLO at {alone[0].rates_per_s[0]:g} requests/s a perfect judge's cascade is worth "
            f"{interval(100 * waits)} points against the best threshold of {PREDICTED}",
            "most right answers within the SLO: "
            + "; ".join(
                f"at {rate:g} requests/s {100 * worth:.1f} %, {100 * share:.0f} % asked of the large model"
                for rate, (worth, share) in zip(alone[0].rates_per_s.tolist(), best, strict=True)
            ),
        ),
        limits=(
            "Answers are drawn (skill 0.6 and 0.9, noise 0.1), not RouterBench's recorded ones; quality.columns reads "
            "such from a trace. AIQ is the paper's; the authors' code divides by the largest cost.",
            "Costs are fixed prices, as in RouterBench. In steps, GPU time falls with the batch: an idle large model "
            "costs more for each request, and what an instance costs is paid in any case.",
            "The judge takes no time, and answers have the same length whichever model gives them.",
            "That cascades lose within the SLO was seen first and claimed then: the bound is 1 s to the first token of "
            "the last answer, and outputs take seconds.",
            "The highest load was added after the large model's best share had hardly moved up to 12 requests/s.",
        ),
    )
    every = [*alone, *(sweep for sweeps in of.values() for sweep in sweeps)]
    return Made(claim, {"routing": _draw(of, alone, price)}, {"routing": _table(every, price)})


def _in_slo(sweep: Sweep) -> Floats:
    """Quality within the SLO at the light load, by seed."""
    light: Floats = sweep.values["quality_in_slo"][0]
    return light


def _costs(sweep: Sweep, price: Floats) -> Floats:
    """Cost of a request at the light load, GPU s, by seed."""
    values = sweep.values
    costs: Floats = price[0] * values["answers_small"][0] + price[1] * values["answers_large"][0]
    return costs


def _point(sweep: Sweep, price: Floats) -> Point:
    return float(_costs(sweep, price).mean()), float(sweep.values["quality"][0].mean())


def _gain(sweep: Sweep, alone: list[Sweep], price: Floats) -> Interval:
    """Quality beyond that of a random mix of the same cost and seed, in points."""
    costs = _costs(sweep, price)
    mixed = [
        quality_at([(price[0], alone[0].values["quality"][0][seed]), (price[1], alone[1].values["quality"][0][seed])],
                   [cost])[0]
        for seed, cost in enumerate(costs.tolist())
    ]  # fmt: skip
    return interval(100 * (sweep.values["quality"][0] - np.array(mixed)))


def _aiq(ends: list[Point], sweeps: Iterable[Sweep], price: Floats) -> float:
    return aiq([*ends, *(_point(sweep, price) for sweep in sweeps)], ends[0][0], ends[1][0])


def _best(sweeps: list[Sweep], at: int) -> Point:
    """Most worth within the SLO at a load, and what share of the requests the large model gets for it."""
    best = max(sweeps, key=lambda sweep: float(sweep.values["quality_in_slo"][at].mean()))
    return float(best.values["quality_in_slo"][at].mean()), float(best.values["answers_large"][at].mean())


def _draw(of: dict[str, list[Sweep]], alone: list[Sweep], price: Floats) -> Any:
    figure, axes = panels(1, 1 + len(LOADS), 2.4)
    plane, *loads = axes
    corners = [_point(sweep, price) for sweep in alone]
    plane.plot(*zip(*hull(corners), strict=True), color=GREY, linewidth=0.8)
    plane.plot(*zip(*corners, strict=True), "s", color=ORANGE, label="one model")
    for name, sweeps in of.items():
        points = [_point(sweep, price) for sweep in sweeps]
        plane.plot(*zip(*points, strict=True), LOOKS[name][1], color=LOOKS[name][0], label=name)
    finish(plane, x="cost (GPU s a request)", y="quality")
    for at, panel in enumerate(loads):
        for name, sweeps in {"one model": alone, **of}.items():
            colour, marker = LOOKS.get(name, (ORANGE, "s"))
            share = [float(sweep.values["answers_large"][at].mean()) for sweep in sweeps]
            panel.plot(share, [sweep.values["quality_in_slo"][at].mean() for sweep in sweeps], marker, color=colour)
        panel.set_ylim(0, 1)
        rate_per_s = alone[0].rates_per_s[at]
        finish(panel, x="large model asked", y="quality within SLO", title=f"{rate_per_s:g} requests/s")
    handles, labels = plane.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def _table(sweeps: list[Sweep], price: Floats) -> dict[str, list[Any]]:
    rows = [(sweep, at) for sweep in sweeps for at in range(len(LOADS))]
    names = ("quality", "quality_in_slo", "answers_small", "answers_large", "gpu_s", "attainment", "ttft_s_mean")
    head: dict[str, list[Any]] = {
        "router": [" ".join(sweep.plan.changes) for sweep, _ in rows],
        "rate_per_s": [float(sweep.rates_per_s[at]) for sweep, at in rows],
        "cost_gpu_s": [_point(sweep, price)[0] for sweep, _ in rows],
    }
    return head | {name: [float(sweep.values[name][at].mean()) for sweep, at in rows] for name in names}


FIGURE = PaperFigure("routing", "RouterBench", plans, make)
