"""The cheapest point of a sweep that meets the SLO, and what its GPUs cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmsim.latency.hardware import load_gpu
from llmsim.metrics.moved_bounds import MovedBounds
from llmsim.scenario import Scenario
from llmsim.statistics import STEADY
from llmsim.statistics.shares import probability_at_most
from llmsim.studies.sweep.sweep_definition import Point
from llmsim.studies.sweep.sweep_table import SweepRow

#: share of requests that must meet the SLO, and how probable that must be
MET, CONFIDENCE = 0.99, 0.95


@dataclass(frozen=True, slots=True)
class Cheapest:
    """A point all of whose runs are steady and meet the SLO, for the least money."""

    axes: Mapping[str, Any]
    usd_per_hour: float
    probability: float  #: that it meets the SLO


def cheapest(
    points: Sequence[Point], rows: Sequence[SweepRow], moved: Sequence[MovedBounds | None], seeds: int
) -> Cheapest | None:
    """Find it among the points of a sweep, a row a run; None where no point is steady and surely attains `MET`.

    `moved` are the requests of each run that miss. Of equal cost, the more probable one. Instances that come and go
    cost as much as all that there may be.
    """
    found: list[tuple[float, float, int]] = []
    for i in range(0, len(rows), seeds):
        met = probability(moved[i : i + seeds])
        if met >= CONFIDENCE and all(row.verdict == STEADY for row in rows[i : i + seeds]):
            found.append((usd_per_hour(points[i].scenario), -met, i))
    if not found:
        return None
    usd, met, i = min(found)
    return Cheapest(points[i].axes, usd, -met)


def probability(runs: Sequence[MovedBounds | None]) -> float:
    """How probable it is that `MET` of the requests meet the SLO, at least: by the clusters of those that miss."""
    missed = [run.asked for run in runs if run is not None and run.asked is not None]
    return probability_at_most(missed, 1 - MET)[0] if len(missed) == len(runs) else 0.0


def gpus_of(scenario: Scenario) -> dict[str, int]:
    """GPUs of a scenario by kind, of all instances that there may be."""
    counts: dict[str, int] = {}
    for _, cluster in scenario.pools:
        name = load_gpu(cluster.gpu).name
        counts[name] = counts.get(name, 0) + cluster.instances * cluster.gpus_per_instance
    return counts


def usd_per_hour(scenario: Scenario) -> float:
    """List price of a scenario's GPUs, of all instances that there may be."""
    return sum(
        cluster.instances * cluster.gpus_per_instance * load_gpu(cluster.gpu).price_usd_per_hour
        for _, cluster in scenario.pools
    )
