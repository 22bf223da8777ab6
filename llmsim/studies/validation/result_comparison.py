"""A measured result against a scenario's prediction; and host times fitted to one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llmsim.errors import InputError
from llmsim.experiment import make_host
from llmsim.latency.hardware import HostTimes
from llmsim.scenario import Scenario
from llmsim.studies.validation.calibration import LOADS
from llmsim.studies.validation.case_report import Check, Point, Report, Row
from llmsim.studies.validation.load_stages import Stage, asked_stages, said
from llmsim.studies.validation.measured_run import MeasuredRun, asked_runs, predict
from llmsim.studies.validation.replay import METRICS, Latencies
from llmsim.studies.validation.sends import NOTHING_ASSUMED, Assumed
from llmsim.studies.validation.stage_fit import StagedEngine

LIMIT_PERCENT = 10.0
QUANTILES = (50, 90, 99)
LEAST_LOAD_RATIO = (
    1.5  #: ratio of the loads of the last and the first part from which step and sequence can be told apart
)


STAGES_SAY = "--max-concurrency and --assume-sends are of requests one by one; stages say their rates"


def compare_file(
    path: Path, scenario: Scenario, run: int | None, assumed: Assumed = NOTHING_ASSUMED, *, several: bool = False
) -> list[Report]:
    """Compare run number `run` of a file, or all if `several`: requests one by one, or by stage. Nothing is fitted."""
    stages = asked_stages(path, run, several=several)
    if stages is None:
        return [compare_result(one, scenario) for one in asked_runs(path, run, assumed, several=several)]
    if assumed != NOTHING_ASSUMED:
        raise InputError(STAGES_SAY)
    return [compare_stages(stages, scenario)]


def compare_result(run: MeasuredRun, scenario: Scenario) -> Report:
    """Compare a measured run with what a scenario predicts for the same requests; nothing is fitted."""
    seen = predict(run, scenario)
    points = [
        Point(f"{metric[:-2].upper()}", name, "s", _of(run.latencies, metric, name), _of(seen, metric, name))
        for metric in METRICS
        for name in ("mean", *(f"p{q}" for q in QUANTILES))
        if np.isfinite(_of(run.latencies, metric, name))
    ]
    rate = Point("throughput", "mean", "requests/s", run.latencies.requests_per_s, seen.requests_per_s)
    means = [point for point in points if point.label == "mean"]
    return Report(
        case=run.name,
        about=f"{len(run.workload):,} measured requests, {run.said}, to scenario {scenario.name}; "
        f"latencies from sending. Host times: {_host_in_words(make_host(scenario))}.",
        points=tuple(points),
        checks=tuple(Check(f"mean {p.group}", p.error_percent, LIMIT_PERCENT) for p in (*means, rate)),
        rows=tuple(_row(point) for point in (*points, rate)),
        notes=(*_notes(run, seen), *_of_caching(scenario)),
    )


def compare_stages(stages: Sequence[Stage], scenario: Scenario) -> Report:
    """Compare what was measured by stage with what a scenario predicts for requests of its own, at the same rates."""
    engine, host = StagedEngine(scenario, tuple(stages)), make_host(scenario)
    seen = engine.serve(engine.requests(scenario.seed), host)
    points = [
        Point(said(name), stage.name, "s", stage.measured[name], float(value))
        for stage, row in zip(stages, seen, strict=True)
        for name, value in zip(stage.measured, row, strict=True)
    ]
    means = [point for point in points if point.group.startswith("mean")]
    return Report(
        case=stages[0].run,
        about=f"{len(stages)} measured stages, to scenario {scenario.name} at their rates, with its requests; "
        f"latencies from sending. Host times: {_host_in_words(host)}.",
        points=tuple(points),
        checks=tuple(Check(f"{p.label}: {p.group}", p.error_percent, LIMIT_PERCENT) for p in means),
        rows=tuple({**_row(point), "metric": point.label, "of": point.group} for point in points),
    )


def loads(runs: Sequence[MeasuredRun]) -> tuple[float, float]:
    """Mean number of requests in flight in the part with the least load and in that with the most."""
    in_flight = np.sort(np.concatenate([run.in_flight() for run in runs]))
    parts = np.array_split(in_flight, LOADS)
    return float(parts[0].mean()), float(parts[-1].mean())


def _of(seen: Latencies, metric: str, name: str) -> float:
    if name == "mean":
        return seen.mean(metric)
    values = getattr(seen, metric)
    values = values[np.isfinite(values)]
    return float(np.percentile(values, int(name[1:]))) if len(values) else float("nan")


def _row(point: Point) -> Row:
    return {"metric": point.group, "of": point.label, **point.columns()}


def _host_in_words(host: HostTimes) -> str:
    said = [f"{name} {value:.3g}" for name, value in host.model_dump().items() if value]
    return ", ".join(said) or "none, so that the GPU alone is predicted"


def _of_caching(scenario: Scenario) -> tuple[str, ...]:
    if not any(cluster.prefix_caching for _, cluster in scenario.pools):
        return ()
    return ("The result does not say which prompts begin alike: served as if none did, whatever the cache had found.",)


def _notes(run: MeasuredRun, seen: Latencies) -> tuple[str, ...]:
    notes = [f"{note[0].upper()}{note[1:]}." for note in run.notes]
    if run.left_out:
        notes.append(f"{run.left_out} measured requests without an answer are left out: they cannot be sent again.")
    unserved = int(np.sum(~np.isfinite(seen.e2e_s)))
    if unserved:
        notes.append(f"{unserved} requests are not finished in the scenario, and count in no prediction.")
    return tuple(notes)
