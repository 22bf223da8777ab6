"""Which scheduler is best: the answers of throughput, attainment, goodput, the forms of other papers, and of users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch

from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draw import WORDS, finish, panels
from llmsim.figures.intervals import Interval, interval
from llmsim.figures.numbers import CHOICES, Choice
from llmsim.figures.plan import Plan, Sweep
from llmsim.record import Floats
from llmsim.reports.plots.style import COLOURS

POLICIES = (
    "prefill first",
    "chunked, 2048",
    "chunked, 512",
    "SGLang",
    "shortest first",
    "earliest deadline",
    "SLOs-Serve",
    "static batches",
)
#: of each, in a cell
SHORT = ("PF", "C2", "C5", "SG", "SF", "ED", "SS", "SB")
#: whose colours letters stand out from in white
DARK = ("prefill first", "chunked, 512", "shortest first", "static batches")
#: opacity of the colour of one that is not surely better than the second
PALE = 0.35
SETTINGS = ("sharegpt_llama", "documents_llama", "azure_llama", "reasoning", "long_context", "agents")
QUICK_SETTINGS = ("sharegpt_llama", "long_context")
#: light, at capacity, overloaded
LOADS = (0.6, 1.0, 1.5)
#: what users feel: how long their worst token was late, less is better
STALL = "users' stall time"
#: metric in words -> its number in Sweep.values, and which way is better
METRICS: Mapping[str, tuple[str, int]] = {
    "throughput": ("throughput", 1),
    "mean TTFT": ("ttft_s_mean", -1),
    "P99 ITL": ("tbt_s_p99", -1),
    "SLO attainment": ("attainment", 1),
    "goodput": ("goodput", 1),
    "SLOs-Serve attainment": ("form_stages", 1),
    "JITServe tokens": ("form_jitserve", 1),
    "Aegaeon attainment": ("form_aegaeon", 1),
    "Andes QoE": ("form_qoe", 1),
    "Etalon fluidity": ("form_fluidity", 1),
    "smooth goodput": ("", 1),
    STALL: ("idle_5_arrivals", -1),
}
#: what the paper leaves open of smooth goodput, in words -> the field of `Choice`
OPEN = {"V": "tokens_per_s", "alpha": "alpha", "f": "penalty", "the anchor": "anchor"}
#: two metrics whose flips are written out: what operators watch, and what users have
TOLD = ("goodput", "smooth goodput")
#: flipped pairs that the evidence names
NAMED = 3


def plans(quick: bool) -> tuple[Plan, ...]:
    """Each setting under every policy, at three loads."""
    settings, seeds = (QUICK_SETTINGS, 3) if quick else (SETTINGS, 8)
    return tuple(Plan(setting, policy, LOADS, seeds, forms=True) for setting in settings for policy in POLICIES)


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Order the policies by every metric in every place, and count pairs whose order flips."""
    found = [sweeps[plan] for plan in plans(quick)]
    settings = [found[i : i + len(POLICIES)] for i in range(0, len(found), len(POLICIES))]
    signs = {metric: np.concatenate([_signs(one, metric) for one in settings]) for metric in METRICS}
    flips = {pair: _flips(signs[pair[0]], signs[pair[1]]) for pair in combinations(METRICS, 2)}
    worst = sorted(flips, key=lambda pair: -_share(flips[pair]))[:4]
    against = {metric: _flips(signs[metric], signs[STALL]) for metric in METRICS if metric != STALL}
    pairs = _flipped(settings, *TOLD)
    claim = Claim(
        claim=15,
        statement="Which of two schedulers is better depends on the metric: pairs that both of two metrics tell apart "
        "stand in opposite orders; smooth goodput goes with users' stall time more often than the others do",
        passed=_share(flips[worst[0]]) > 0 and _agrees_most(against),
        evidence=(
            *(f"{one} against {two}: {_of(flips[one, two])} pairs flip" for one, two in worst),
            "against users' stall time: " + "; ".join(f"{metric} {_of(count)}" for metric, count in against.items()),
            f"most told of those that flip between {' and '.join(TOLD)}: "
            + "; ".join(each.words for each in pairs[:NAMED]),
            *(
                f"best by {metric}: {_winners(settings, metric)}"
                for metric in ("throughput", "goodput", "smooth goodput")
            ),
        ),
        limits=(
            _dependence(settings),
            "A pair counts where the 95 % intervals of both differences, over seeds with the same requests, exclude 0. "
            "Smooth goodput is made of tokens and stall time, and so is no judge from outside.",
            "Arrivals last 300 s: beyond capacity all of this depends on that (figure how_long).",
        ),
    )
    tables = {"ranking": _table(settings), "ranking_flips": _table_of_flips(pairs)}
    return Made(claim, {"ranking": _draw(settings), "ranking_flips": _draw_flips(flips)}, tables)


def _values(sweep: Sweep, metric: str) -> Floats:
    """A metric by loads and seeds, (R, S), so that more is better."""
    name, sign = METRICS[metric]
    return sign * (sweep.values[name] if name else sweep.smooth_goodput())


def _signs(sweeps: list[Sweep], metric: str) -> Floats:
    """For each pair of policies and each load: 1 if the first is better, -1 if the second, 0 if it is not clear."""
    return _order([_values(sweep, metric) for sweep in sweeps])


def _order(values: list[Floats]) -> Floats:
    out = []
    for one, two in combinations(values, 2):
        for row in one - two:
            difference = interval(row)
            out.append(1.0 if difference.positive else -1.0 if difference.negative else 0.0)
    return np.array(out)


def _flips(one: Floats, two: Floats) -> tuple[int, int]:
    """Pairs in opposite orders, and pairs that both tell apart."""
    return int(np.sum(one * two < 0)), int(np.sum(one * two != 0))


def _share(count: tuple[int, int]) -> float:
    return count[0] / count[1] if count[1] else 0.0


def _of(count: tuple[int, int]) -> str:
    return f"{count[0]} of {count[1]}"


def _agrees_most(against: Mapping[str, tuple[int, int]]) -> bool:
    least = min(_share(count) for count in against.values())
    return _share(against["smooth goodput"]) <= least + 0.05


@dataclass(frozen=True, slots=True)
class Flipped:
    """Two policies in one place, of which one metric prefers the first, and another the second."""

    setting: str
    load: float
    policies: tuple[str, str]
    metrics: tuple[str, str]
    differences: tuple[Interval, Interval]  #: of the metrics, first policy less second; the sign says which is better

    @property
    def words(self) -> str:
        """In a line."""
        (one, two), (by, against) = self.differences, self.metrics
        first, second = self.policies if one.positive else self.policies[::-1]
        if one.negative:
            one, two = replace(one, mean=-one.mean), replace(two, mean=-two.mean)
        place = f"{WORDS[self.setting]} at {self.load:g}"
        return f"{place}: {first} above {second} by {by} ({one}), below by {against} ({two})"

    @property
    def sureness(self) -> float:
        """How many half-widths the less sure of both differences is from 0."""
        return min(abs(each.mean) / max(each.half_width, 1e-12) for each in self.differences)


def _flipped(settings: list[list[Sweep]], *metrics: str) -> list[Flipped]:
    """All pairs whose order flips between two metrics, the surest first."""
    found = []
    for sweeps in settings:
        for one, two in combinations(sweeps, 2):
            by = [_values(one, metric) - _values(two, metric) for metric in metrics]
            for at, load in enumerate(LOADS):
                first, second = (interval(values[at]) for values in by)
                if (first.positive and second.negative) or (first.negative and second.positive):
                    names, judged = (one.plan.policy, two.plan.policy), (metrics[0], metrics[1])
                    found.append(Flipped(one.plan.setting, load, names, judged, (first, second)))
    return sorted(found, key=lambda each: -each.sureness)


def _dependence(settings: list[list[Sweep]]) -> str:
    """How many pairs flip if one choice of smooth goodput is another than the paper's second version has it."""
    usual = Choice()
    base = _signs_by(settings, usual)
    told = []
    for name, field in OPEN.items():
        values = dict.fromkeys(getattr(choice, field) for choice in CHOICES)
        others = {value: replace(usual, **{field: value}) for value in values if value != getattr(usual, field)}
        counts = [f"{value} {_of(_flips(base, _signs_by(settings, other)))}" for value, other in others.items()]
        told.append(f"{name} ({getattr(usual, field)}): {', '.join(counts)}")
    winners = {tuple(_best(one, at, [s.values[c.key] for s in one]) for one in settings for at in range(len(LOADS)))
               for c in CHOICES}  # fmt: skip
    return (
        f"Pairs that flip where smooth goodput is taken with another value of: {'; '.join(told)}. All {len(CHOICES)} "
        f"choices together give {len(winners)} different rows of winners."
    )


def _signs_by(settings: list[list[Sweep]], choice: Choice) -> Floats:
    return np.concatenate([_order([sweep.values[choice.key] for sweep in one]) for one in settings])


def _best(sweeps: list[Sweep], at: int, values: list[Floats]) -> str:
    means = [float(each[at].mean()) for each in values]
    return sweeps[int(np.argmax(means))].plan.policy


def _winners(settings: list[list[Sweep]], metric: str) -> str:
    parts = []
    for one in settings:
        values = [_values(sweep, metric) for sweep in one]
        best = [f"{_best(one, at, values)} at {load:g}" for at, load in enumerate(LOADS)]
        parts.append(f"{WORDS[one[0].plan.setting]} {', '.join(best)}")
    return "; ".join(parts)


def _draw(settings: list[list[Sweep]]) -> Any:
    """A cell for each metric and place: the colour is the best policy, pale where the second is as good."""
    columns = min(len(settings), 3)
    figure, axes = panels(-(-len(settings) // columns), columns, 3.0 * -(-len(settings) // columns))
    for place, (panel, one) in enumerate(zip(axes, settings, strict=True)):
        cells = np.empty((len(METRICS), len(LOADS), 4))
        for (row, metric), column in product(enumerate(METRICS), range(len(LOADS))):
            best, sure = _best_of([_values(sweep, metric)[column] for sweep in one])
            cells[row, column] = to_rgba(COLOURS[best], 1.0 if sure else PALE)
            colour = "white" if sure and POLICIES[best] in DARK else "black"
            panel.text(column, row, SHORT[best], ha="center", va="center", fontsize=6, color=colour)
        panel.imshow(cells, aspect="auto")
        panel.set_xticks(range(len(LOADS)), [f"{load:g}" for load in LOADS])
        panel.set_yticks(range(len(METRICS)), [""] * len(METRICS) if place % columns else list(METRICS))
        finish(panel, x="load ÷ saturation", y="", title=WORDS[one[0].plan.setting].partition(",")[0])
        panel.grid(visible=False)
    named = zip(COLOURS, SHORT, POLICIES, strict=True)
    handles = [Patch(color=colour, label=f"{short}  {policy}") for colour, short, policy in named]
    title = "best by each metric; pale: the second is as good"
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False, title=title)
    return figure


def _best_of(values: list[Floats]) -> tuple[int, bool]:
    """Which of some policies is best, from their values by seed, and whether it is surely better than the second."""
    first, second = np.argsort([-float(each.mean()) for each in values])[:2]
    return int(first), interval(values[first] - values[second]).positive


def _draw_flips(flips: Mapping[tuple[str, str], tuple[int, int]]) -> Any:
    """A cell for each pair of metrics: the share of the pairs told apart by both that stand in opposite orders."""
    figure, (panel,) = panels(1, 1, 4.2)
    names = list(METRICS)
    shares = np.full((len(names), len(names)), np.nan)
    for (one, two), count in flips.items():
        i, j = names.index(one), names.index(two)
        shares[i, j] = shares[j, i] = 100 * _share(count)
        for x, y in ((i, j), (j, i)):
            colour = "white" if shares[i, j] > 50 else "black"
            panel.text(x, y, f"{shares[i, j]:.0f}", ha="center", va="center", color=colour)
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    panel.set_xticks(range(len(names)), names, rotation=45, ha="right")
    panel.set_yticks(range(len(names)), names)
    finish(panel, x="", y="", title="pairs of schedulers in opposite orders (%)")
    panel.grid(visible=False)
    return figure


def _table_of_flips(pairs: list[Flipped]) -> dict[str, list[Any]]:
    rows = [
        (each.setting, each.load, *each.policies, metric, found.mean, found.half_width)
        for each in pairs
        for metric, found in zip(each.metrics, each.differences, strict=True)
    ]
    heads = ("setting", "load", "policy", "against", "metric", "difference", "half_width_95")
    return {head: [row[place] for row in rows] for place, head in enumerate(heads)}


def _table(settings: list[list[Sweep]]) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {"setting": [], "policy": [], "load": [], "metric": [], "mean": [], "half_width_95": []}
    for sweep in (sweep for one in settings for sweep in one):
        for metric, (_, sign) in METRICS.items():
            for load, row in zip(LOADS, _values(sweep, metric), strict=True):
                found = interval(sign * row)
                row_of = (sweep.plan.setting, sweep.plan.policy, load, metric, found.mean, found.half_width)
                for column, value in zip(out.values(), row_of, strict=True):
                    column.append(value)
    return out


FIGURE = PaperFigure("ranking", "which scheduler is best", plans, make)
