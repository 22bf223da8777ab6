"""Which point of a sweep to take, from rows made by hand."""

from __future__ import annotations

from typing import Any

from llmsim.reports.tables.sweep_tables import cheapest_text
from llmsim.scenario import load_scenario
from llmsim.studies.sweep.cheapest import cheapest
from llmsim.studies.sweep.sweep_definition import Point


def point(instances: int) -> list[Point]:
    scenario = load_scenario("quickstart", [f"cluster.instances={instances}", "cluster.gpu=a100-sxm4-80gb"])
    return [Point({"cluster.instances": instances}, scenario, "")] * 2


def runs(*attained: float, answer: str = "steady") -> list[dict[str, Any]]:
    return [{"slo.attainment": share, "verdict.answer": answer} for share in attained]


POINTS = [*point(1), *point(2), *point(3)]


def test_the_cheapest_steady_point_that_meets_the_slo_in_every_run_is_taken() -> None:
    found = cheapest(POINTS, [*runs(0.999, 0.98), *runs(0.995, 0.991), *runs(1.0, 1.0)], 2)

    assert found is not None
    assert (found.axes, found.attainment) == ({"cluster.instances": 2}, 0.991)
    assert found.usd_per_hour == 2 * 2.0, "two A100s at the list price of their profile"
    assert cheapest_text(found).endswith("cluster.instances=2, at 4.00 USD/h (99.10 % or more)")


def test_points_that_are_not_steady_or_miss_are_not_taken() -> None:
    rows = [*runs(0.999, 0.98), *runs(1.0, 1.0, answer="too short"), *runs(0.5, 1.0)]

    assert cheapest(POINTS, rows, 2) is None
    assert "no point is steady" in cheapest_text(None)
