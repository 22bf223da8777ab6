"""What the pictures of a sweep show: for each metric an interval over seeds at every point, its SLO, its cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from llmsim.metrics.catalogue import select
from llmsim.metrics.kpi import LESS, NEITHER
from llmsim.scenario import Scenario
from llmsim.statistics import STEADY, Interval
from llmsim.studies.sweep import FinishedSweep, cheapest
from llmsim.studies.sweep.sweep_table import SweepRow, over_seeds

#: KPIs of the panels
PANEL_KEYS = (
    *("ttft_s.p99", "tpot_s.mean", "tbt_s.p99", "slo.attainment", "slo.goodput_tokens_per_s"),
    *("smooth_goodput_tokens_per_s", "imbalance.outstanding_cv"),
)
COST = "cost (USD per million output tokens)"
WITHHELD = "withheld"
ATTAINED = 0.99  #: share of requests that must keep the SLO for a point to meet it
#: KPI -> the bound of the SLO that a line marks
BOUNDED = {"ttft_s.p99": "ttft_s", "tpot_s.mean": "tpot_s", "tbt_s.p99": "tbt_s"}

#: values of the axes, by position
Place = tuple[int, ...]
#: the interval over seeds at each place; None where a run has no such number
Cells = Mapping[Place, Interval | None]


@dataclass(frozen=True)
class Panel:
    """One metric over the axes."""

    words: str
    cells: Cells
    unsteady: Set[Place]  #: where not all runs are steady
    absent: str = "–"  #: what stands where there is no number
    better: int = NEITHER  #: `MORE` or `LESS`
    bound: float | None = None  #: of the SLO, in the unit shown; None: there is none, or not one for all points
    met: Set[Place] = frozenset()  #: where the SLO is met


def panels_of(swept: FinishedSweep) -> Iterator[Panel]:
    """Gather the runs of each point, an interval over seeds for each metric, and for the cost."""
    seeds = len(swept.sweep.seeds)
    places = list(np.ndindex(*(len(axis.values) for axis in swept.sweep.axes)))
    runs = {place: swept.rows[i * seeds : (i + 1) * seeds] for i, place in enumerate(places)}
    kept = {place: swept.distributions[i * seeds : (i + 1) * seeds] for i, place in enumerate(places)}
    unsteady = {place for place in places if any(row.verdict != STEADY for row in runs[place])}
    met = _attained(runs)

    def cells(column: str, factor: float) -> dict[Place, Interval | None]:
        found = {place: over_seeds(column, runs[place], kept[place]) for place in places}
        return {place: None if one is None else one.times(factor) for place, one in found.items()}

    for kpi in select(*PANEL_KEYS):
        if any(kpi.key in row.numbers for row in swept.rows):
            name = f"{kpi.name} ({kpi.shown_unit})" if kpi.shown_unit else kpi.name
            absent, bound = WITHHELD if kpi.tail else "–", _bound(swept, kpi.key, kpi.factor)
            yield Panel(name, cells(kpi.key, kpi.factor), unsteady, absent, kpi.better, bound, met)
    hourly = {place: usd_per_hour(swept.sweep.points[i * seeds].scenario) for i, place in enumerate(places)}
    costs = {place: _cost(hourly[place], one) for place, one in cells("output_tokens_per_s", 1.0).items()}
    if any(costs.values()):
        yield Panel(COST, costs, unsteady, better=LESS, met=met)


def _attained(runs: Mapping[Place, Sequence[SweepRow]]) -> Set[Place]:
    """Places whose runs, on average, keep the SLO for `ATTAINED` of their requests."""
    key = "slo.attainment"
    shares = {place: [float(row.numbers.get(key, math.nan)) for row in rows] for place, rows in runs.items()}
    return {place for place, found in shares.items() if np.mean(found) >= ATTAINED}


def _bound(swept: FinishedSweep, key: str, factor: float) -> float | None:
    bounds = {getattr(point.scenario.slo, BOUNDED[key]) for point in swept.sweep.points} if key in BOUNDED else set()
    found = bounds.pop() if len(bounds) == 1 else None
    return None if found is None else factor * found


def usd_per_hour(scenario: Scenario) -> float | None:
    """Price of all GPUs by their profiles; None where instances come and go, or a GPU has no price."""
    return None if scenario.autoscaling is not None else cheapest.usd_per_hour(scenario) or None


def _cost(hourly_usd: float | None, tokens_per_s: Interval | None) -> Interval | None:
    """USD for a million output tokens, from a throughput."""
    if hourly_usd is None or tokens_per_s is None or tokens_per_s.estimate <= 0:
        return None
    usd = hourly_usd / 3600 * 1e6
    least, most = (usd / rate if rate > 0 else math.inf for rate in (tokens_per_s.high, tokens_per_s.low))
    low, high = (least, most) if tokens_per_s.bounded else (-math.inf, math.inf)
    return replace(tokens_per_s, estimate=usd / tokens_per_s.estimate, low=low, high=high)
