"""The cheapest point of a sweep that meets the SLO, and what its GPUs cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmsim.latency.hardware import load_gpu
from llmsim.scenario import Scenario
from llmsim.statistics import STEADY
from llmsim.studies.sweep.sweep_definition import Point

#: share of requests that must meet the SLO
MET = 0.99


@dataclass(frozen=True, slots=True)
class Cheapest:
    """A point all of whose runs are steady and meet the SLO, for the least money."""

    axes: Mapping[str, Any]
    usd_per_hour: float
    attainment: float  #: the least of its runs


def cheapest(points: Sequence[Point], rows: Sequence[Mapping[str, Any]], seeds: int) -> Cheapest | None:
    """Find it among the points of a sweep, a row a run; None where no point is steady and attains `MET`.

    Of equal cost, the one that attains more. Instances that come and go cost as much as all that there may be.
    """
    found: list[tuple[float, float, int]] = []
    for i in range(0, len(rows), seeds):
        runs = rows[i : i + seeds]
        shares = [row.get("slo.attainment") for row in runs]
        least = min((share for share in shares if share is not None), default=0.0)
        if None in shares or least < MET or any(row["verdict.answer"] != STEADY for row in runs):
            continue
        found.append((usd_per_hour(points[i].scenario), -least, i))
    if not found:
        return None
    usd, least, i = min(found)
    return Cheapest(points[i].axes, usd, -least)


def usd_per_hour(scenario: Scenario) -> float:
    """List price of a scenario's GPUs, of all instances that there may be."""
    return sum(
        cluster.instances * cluster.tensor_parallel_size * load_gpu(cluster.gpu).price_usd_per_hour
        for _, cluster in scenario.pools
    )
