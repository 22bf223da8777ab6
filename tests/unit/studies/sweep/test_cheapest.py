"""Which point of a sweep to take, from rows made by hand."""

from __future__ import annotations

import pytest

from llmsim.metrics.moved_bounds import MovedBounds
from llmsim.reports.tables.sweep_tables import cheapest_text
from llmsim.scenario import load_scenario
from llmsim.statistics.shares import Clusters
from llmsim.studies.sweep.cheapest import cheapest
from llmsim.studies.sweep.sweep_definition import Point
from llmsim.studies.sweep.sweep_table import SweepRow


def point(instances: int) -> list[Point]:
    scenario = load_scenario("quickstart", [f"cluster.instances={instances}", "cluster.gpu=a100-sxm4-80gb"])
    return [Point({"cluster.instances": instances}, scenario, "")] * 2


def runs(*answers: str) -> list[SweepRow]:
    return [SweepRow({}, 0, {"verdict.answer": answer}) for answer in answers]


def missing(events: int) -> MovedBounds:
    """A run of 10,000 requests of which so many miss, each on its own."""
    return MovedBounds({}, (Clusters(10_000, events, float(events), 1),))


POINTS = [*point(1), *point(2), *point(3)]
STEADY = runs("steady", "steady")


def test_the_cheapest_steady_point_that_surely_meets_the_slo_is_taken() -> None:
    found = cheapest(POINTS, STEADY * 3, [missing(n) for n in (90, 110, 80, 70, 0, 0)], 2)

    assert found is not None
    assert found.axes == {"cluster.instances": 2}, "of one instance half of the runs miss"
    assert found.probability == pytest.approx(0.999, abs=2e-3), "150 of 20,000 miss, where 200 may: 4 deviations away"
    assert found.usd_per_hour == 2 * 2.0, "two A100s at the list price of their profile"
    assert cheapest_text(found).endswith("cluster.instances=2, at 4.00 USD/h (P > 0.999)")


def test_points_that_are_not_steady_or_miss_are_not_taken() -> None:
    rows = [*STEADY, *runs("steady", "too short"), *STEADY]
    none_counted = MovedBounds({}, (None,))  # more than half miss

    assert (
        cheapest(POINTS, rows, [missing(99), missing(99), missing(0), missing(0), missing(0), none_counted], 2) is None
    )
    assert cheapest(POINTS, rows, [None] * 6, 2) is None, "nothing was kept, as without an SLO"
    assert "no point is steady" in cheapest_text(None)
