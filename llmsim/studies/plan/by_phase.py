"""A day's load by its phases: over days and seeds each phase has a P99 and an attainment of its own.

A phase of one day is one sample; where that has too few requests for a P99, some days on end are. Days of other seeds
follow each other likewise. Samples of a phase are a period or more apart, and so taken for independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from llmsim import experiment
from llmsim.experiment.own_files import OwnFiles
from llmsim.experiment.run_scenario import asked_requests
from llmsim.metrics import request_latency
from llmsim.metrics.slo import meets
from llmsim.metrics.window import Window
from llmsim.scenario import Scenario
from llmsim.statistics.intervals import Floats, Interval, mean
from llmsim.statistics.shares import clusters_of
from llmsim.statistics.steady import LEAST_REQUESTS
from llmsim.studies.plan.targets import Target

#: of a phase, below which its P99 has no interval: days differ by more than two or three of them show
LEAST_SAMPLES = 4
ATTAINMENT = Target("slo.attainment", at_least=True, bound=0.99)


@dataclass(frozen=True, slots=True)
class RequestsOfDays:
    """The requests of one run of whole periods, (n,) each."""

    arrival_s: Floats
    ttft_s: Floats  #: inf for those without a token
    met: NDArray[np.bool_] | None  #: the SLO; None: there is none


@dataclass(frozen=True, slots=True)
class Phase:
    """What users see in one phase of the period."""

    start_s: float  #: in the period
    end_s: float
    rate_per_s: float
    ttft_p99_s: Interval | None  #: mean over days of the P99; None where all days together have too few requests
    attainment: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        intervals = {"ttft_s.p99": self.ttft_p99_s, "slo.attainment": self.attainment}
        found = {name: None if one is None else one.to_dict() for name, one in intervals.items()}
        return {"start_s": self.start_s, "end_s": self.end_s, "rate_per_s": self.rate_per_s, **found}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; KeyError for anything else."""
        kept = (values[name] for name in ("ttft_s.p99", "slo.attainment"))
        intervals = (None if one is None else Interval.from_dict(one) for one in kept)
        return cls(values["start_s"], values["end_s"], values["rate_per_s"], *intervals)


def requests_of_days(scenario: Scenario, files: OwnFiles) -> RequestsOfDays:
    """Run a scenario, with the classes of `files`, and keep what phases are judged by."""
    asked = asked_requests(experiment.run(scenario, **files.load()), Window("makespan"))
    timelines = asked.timelines
    ttft_s = np.nan_to_num(request_latency.ttft_s(timelines), nan=math.inf)
    met = None if asked.slo is None else meets(timelines, asked.slo)
    order = np.argsort(timelines.arrival_s, kind="stable")
    return RequestsOfDays(timelines.arrival_s[order], ttft_s[order], None if met is None else met[order])


def by_phase(runs: Sequence[RequestsOfDays], period_s: float, phases: int) -> tuple[Phase, ...]:
    """Judge each of so many equal phases by all runs of whole periods; O(N) a phase."""
    days = [max(1, round(float(run.arrival_s[-1]) / period_s)) for run in runs]
    edges_s = np.linspace(0.0, period_s, phases + 1)
    phase = np.concatenate([np.searchsorted(edges_s[1:-1], run.arrival_s % period_s, side="right") for run in runs])
    day = np.concatenate(
        [
            np.minimum(run.arrival_s // period_s, n - 1) + before
            for run, n, before in zip(runs, days, np.cumsum([0, *days[:-1]]), strict=True)
        ]
    )
    ttft_s = np.concatenate([run.ttft_s for run in runs])
    met = None if runs[0].met is None else np.concatenate([run.met for run in runs if run.met is not None])
    found = []
    for i, (start_s, end_s) in enumerate(pairwise(edges_s.tolist())):
        mine = np.flatnonzero(phase == i)
        rate_per_s = float(f"{len(mine) / sum(days) / (end_s - start_s):.3g}")
        samples = _samples(mine, day, sum(days))
        share = None if met is None else _attainment([met[sample] for sample in samples])
        found.append(Phase(start_s, end_s, rate_per_s, _p99([ttft_s[sample] for sample in samples]), share))
    return tuple(found)


def _samples(mine: NDArray[np.intp], day: Floats, days: int) -> list[NDArray[np.intp]]:
    """The requests of one phase by days, so many on end that a P99 can be seen; without days that are left over."""
    if not len(mine):
        return []
    together = max(1, math.ceil(LEAST_REQUESTS * days / len(mine)))
    group = day[mine] // together
    samples = (mine[group == i] for i in range(days // together))
    return [sample for sample in samples if len(sample)]


def _p99(samples: Sequence[Floats]) -> Interval | None:
    values = np.array([np.percentile(ttft_s, 99, method="higher") for ttft_s in samples])
    if not len(values) or not np.isfinite(values).all():
        return None
    return mean(values) if len(values) >= LEAST_SAMPLES else mean(values).unbounded()


def _attainment(samples: Sequence[NDArray[np.bool_]]) -> Interval | None:
    if not samples:
        return None
    return ATTAINMENT.interval(np.array([met.mean() for met in samples]), [clusters_of(~met) for met in samples])
