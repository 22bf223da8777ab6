"""DistServe's runs against predictions: the points of a run, its rows in the table, and where the knee is."""

from __future__ import annotations

from collections.abc import Sequence

from llmsim.studies.validation.case_report import Point, Row
from llmsim.studies.validation.distserve_runs import Run
from llmsim.studies.validation.replay import METRICS, Latencies


def knee(runs: Sequence[Run], latencies: Sequence[Latencies], metric: str, most_s: float) -> float:
    """First rate, requests/s, at which the mean of a metric exceeds `most_s`; infinite if none does."""
    slow = (run.rate_per_s for run, seen in zip(runs, latencies, strict=True) if seen.mean(metric) > most_s)
    return min(slow, default=float("inf"))


def points_of(run: Run, predicted: Latencies, fitted_on: str = "") -> list[Point]:
    """Mean TTFT, TPOT and E2E of a run; those of the run named `fitted_on` prove nothing."""
    role = "fitted" if run.name == fitted_on else "predicted"
    return [
        Point(f"mean {name[:-2].upper()}", run.name, "s", run.measured.mean(name), predicted.mean(name), role)
        for name in METRICS
    ]


def rows_of(run: Run, points: Sequence[Point], knee_per_s: float) -> list[Row]:
    """Rows of the table, one a point, which say on which side of the knee the run is."""
    where = "below the knee" if run.rate_per_s < knee_per_s else "at or above the knee"
    return [
        {
            "run": run.name,
            "where": "fitted" if point.role == "fitted" else where,
            "metric": point.group,
            "measured_s": point.measured,
            "predicted_s": point.predicted,
            "error_percent": point.error_percent,
        }
        for point in points
    ]
