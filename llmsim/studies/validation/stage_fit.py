"""Host times fitted to aggregates by stage: mean TTFT, TPOT and E2E at several rates, of the requests of a scenario."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.experiment.assembly import assemble
from llmsim.experiment.instances import async_scheduling
from llmsim.experiment.requests import make_workload
from llmsim.latency.hardware import HostTimes
from llmsim.metrics import request_latency
from llmsim.scenario import HostTable, Scenario, SyntheticWorkload
from llmsim.studies.validation.calibration import LEVEL, Calibration, Residual, check_fit
from llmsim.studies.validation.case_report import Point
from llmsim.studies.validation.host_fit import ASYNCHRONOUS, NAMES, fit_host, refitted, slopes_at
from llmsim.studies.validation.load_stages import Stage, aggregates, said, split
from llmsim.studies.validation.replay import Floats, Latencies
from llmsim.workload.contract import Workload
from llmsim.workload.streams import streams
from llmsim.workload.synthetic import arrival_process

DRAWS = 8  #: simulations with other requests, by which the noise of a measured mean is told


@dataclass(frozen=True)
class StagedEngine:
    """A scenario and the stages that were measured of it, one after the other."""

    scenario: Scenario
    stages: tuple[Stage, ...]

    def requests(self, seed: int) -> Workload:
        """Draw the scenario's requests, as many as the stages had, at the rates that these had."""
        table = self.scenario.workload
        if (
            not isinstance(table, SyntheticWorkload)
            or "rate_per_s" not in table.arrivals.options
            or table.classes_arrive
        ):
            raise InputError(
                f"{self.scenario.where('workload', 'arrivals')}stages have rates of their own; expected drawn requests "
                "with arrivals at a rate_per_s, such as poisson"
            )
        count = sum(stage.requests for stage in self.stages)
        drawn = make_workload(
            self.scenario.model_copy(update={"workload": table.model_copy(update={"requests": count})}), streams(seed)
        )
        rng, start_s, arrival_s = streams(seed).arrivals, 0.0, []
        for stage in self.stages:
            options = table.arrivals.options | {"rate_per_s": stage.rate_per_s}
            times_s = start_s + arrival_process(table.arrivals.process, **options).times_s(rng, stage.requests)
            arrival_s.append(times_s)
            start_s = max(start_s + stage.duration_s, float(times_s[-1]))  # drawn times may take longer
        return replace(drawn, arrival_s=np.concatenate(arrival_s))

    def serve(self, requests: Workload, host: HostTimes) -> list[Floats]:
        """What was measured of each stage, as predicted with these host times; seconds."""
        scenario = self.scenario.model_copy(
            update={"host": HostTable(**host.model_dump(include=set(HostTimes.model_fields)))}
        )
        delivered = experiment.delivered(scenario, assemble(scenario, workload=requests).simulate())
        seen = Latencies.of(request_latency.ttft_s(delivered), request_latency.e2e_s(delivered), requests.output_tokens)
        ends = np.cumsum([stage.requests for stage in self.stages])[:-1]
        for stage, e2e_s in zip(self.stages, np.split(seen.e2e_s, ends), strict=True):
            if not np.isfinite(e2e_s).any():
                raise InputError(f"{stage.name}: scenario {scenario.name} finishes none of its requests")
        parts = zip(*(np.split(getattr(seen, name), ends) for name in ("ttft_s", "tpot_s", "e2e_s")), strict=True)
        return [
            aggregates(Latencies(*part), tuple(stage.measured)) for part, stage in zip(parts, self.stages, strict=True)
        ]


@dataclass(frozen=True)
class StageCalibration:
    """Host times fitted to stages, and every statistic measured and predicted with them."""

    found: Calibration
    points: tuple[Point, ...]

    @property
    def in_flight(self) -> tuple[float, float]:
        """Mean number of requests in flight in the stage with the least and in that with the most; NaN: not known."""
        found = [one.in_flight for one in self.found.residuals]
        return min(found), max(found)


def calibrate_stages(stages: Sequence[Stage], scenario: Scenario) -> StageCalibration:
    """Fit the host's times to the means of a run's stages; percentiles are predicted.

    The requests are the scenario's, prefixes included, drawn at the rates of the stages, so that also engines with a
    prefix cache can be fitted. Intervals: how far constants go apart when other requests are drawn, twice over, since
    those measured were one draw and those simulated another. InputError where no constants make the scenario the
    engine.
    """
    engine = StagedEngine(scenario, tuple(stages))
    requests = engine.requests(scenario.seed)
    names = ASYNCHRONOUS if async_scheduling(scenario, 0) else NAMES
    means = [np.array([split(name)[1] == "mean" for name in stage.measured]) for stage in stages]
    measured = [np.array(list(stage.measured.values())) for stage in stages]

    def of_means(values: Sequence[Floats]) -> Floats:
        return np.concatenate([one[chosen] for one, chosen in zip(values, means, strict=True)])

    def predicted(host: HostTimes) -> Floats:
        return of_means(engine.serve(requests, host))

    host = fit_host(predicted, of_means(measured), names)
    seen = engine.serve(requests, host)
    residuals = tuple(_residual(stage, values) for stage, values in zip(stages, seen, strict=True))
    check_fit(host, residuals)
    slopes = slopes_at(predicted, host, of_means(seen), names)
    others = [
        refitted(host, names, of_means(seen), slopes, of_means(engine.serve(engine.requests(seed), host)))
        for seed in range(scenario.seed + 1, scenario.seed + 1 + DRAWS)
    ]
    points = [
        Point(said(name), stage.name, "s", stage.measured[name], float(value), "fitted" if chosen else "predicted")
        for stage, row, fitted in zip(stages, seen, means, strict=True)
        for name, value, chosen in zip(stage.measured, row, fitted, strict=True)
    ]
    return StageCalibration(Calibration(host, _intervals(host, names, np.array(others)), residuals), tuple(points))


def _residual(stage: Stage, values: Floats) -> Residual:
    """How far a stage's means are off; NaN for one that was not measured."""
    percent = dict.fromkeys(("ttft", "tpot", "e2e"), float("nan"))
    for (name, measured), value in zip(stage.measured.items(), values, strict=True):
        metric, statistic = split(name)
        if statistic == "mean":
            percent[metric] = 100 * (float(value) / measured - 1)
    in_flight = stage.rate_per_s * stage.measured.get("e2e_mean_s", float("nan"))  # Little's law
    return Residual(stage.run, in_flight, percent["ttft"], percent["tpot"])


def _intervals(host: HostTimes, names: Sequence[str], others: Floats) -> dict[str, tuple[float, float]]:
    """Bounds of each constant, not negative: Student's t and the spread of `others`, (draws, constants), twice over."""
    spread = np.sqrt(2.0) * np.std(others, axis=0, ddof=1)
    width = float(stats.t.ppf(0.5 + LEVEL / 200, len(others) - 1)) * spread
    values = np.array([getattr(host, name) for name in names])
    return {
        name: (max(0.0, float(value - half)), float(value + half))
        for name, value, half in zip(names, values, width, strict=True)
    }
