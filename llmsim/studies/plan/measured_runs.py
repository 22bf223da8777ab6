"""One run, and what a plan needs of it: its verdict, the targets' numbers, cost and speed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Self

import numpy as np

from llmsim import experiment
from llmsim.experiment.own_files import NO_FILES, OwnFiles
from llmsim.experiment.run_scenario import asked_requests, forms_of, score_delivered
from llmsim.metrics.distributions import Distributions
from llmsim.metrics.moved_bounds import MovedBounds
from llmsim.metrics.scored import Requests
from llmsim.metrics.sections.other_forms import is_form
from llmsim.metrics.sections.paid_instances import PaidInstances
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.metrics.window import Window
from llmsim.scenario import Scenario
from llmsim.statistics import STEADY, TOO_SHORT
from llmsim.statistics.shares import Clusters
from llmsim.statistics.steady import LEAST_INDEPENDENT, MOST_TIMES_AS_LONG
from llmsim.studies.plan.targets import STAGES, Target, missed_at_other_bounds, missed_by, value
from llmsim.studies.sensitivity import nearly_full

#: numbers of every steady run, beside those that the targets name
PAID_USD_PER_HOUR = "autoscaling.usd_per_hour"  #: of instances that come and go
#: share of the busy time in which a tenth of the seats or less is free
NEARLY_FULL = "seats_nearly_full"
#: a run that should be no more than so many times as long counts beside longer ones
NEARLY = 2.0
ALWAYS_MEASURED = ("output_tokens_per_s", "tpot_s.p50", "ttft_s.p50", "ttft_s.p99")


@dataclass(frozen=True, slots=True)
class MeasuredPoint:
    """What one run showed."""

    seed: int
    requests: int
    answer: str  #: of its verdict
    reason: str
    values: Mapping[str, float]  #: metric -> number; empty unless steady, or nearly long enough to tell
    evidence: Mapping[str, float | int | None]
    missed: Mapping[str, Clusters] = field(default_factory=dict)  #: by the target, in words: requests that miss it
    moved: Mapping[str, MovedBounds] = field(default_factory=dict)  #: likewise, if its bounds were others
    lacks: float = 1.0  #: so many times as long it should be to tell alone; below 1 where it is longer than that

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which has no infinity, as `from_dict` reads them."""
        return {
            **{name: getattr(self, name) for name in ("seed", "requests", "answer", "reason", "lacks")},
            "values": {name: None if math.isinf(value) else value for name, value in self.values.items()},
            "missed": {name: list(astuple(clusters)) for name, clusters in self.missed.items()},
            "moved": {name: bounds.to_dict() for name, bounds in self.moved.items()},
            "evidence": dict(self.evidence),
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; KeyError, TypeError or ValueError for anything else."""
        values = {name: math.inf if value is None else float(value) for name, value in kept["values"].items()}
        missed = {name: Clusters(*counts) for name, counts in kept["missed"].items()}
        moved = {name: MovedBounds.from_dict(bounds) for name, bounds in kept["moved"].items()}
        verdict, reason, evidence = kept["answer"], kept["reason"], kept["evidence"]
        lacks = float(kept["lacks"])
        return cls(kept["seed"], kept["requests"], verdict, reason, values, evidence, missed, moved, lacks)


@dataclass(frozen=True, slots=True)
class Altered:
    """What is otherwise in a run than its scenario says: all steps, and all outputs, so many times as long."""

    step_times: float = 1.0
    outputs: float = 1.0

    @property
    def name(self) -> str:
        """For the runs' names; "" where nothing is."""
        steps = "" if self.step_times == 1 else f"-{self.step_times:g}"
        return steps if self.outputs == 1 else f"{steps}-outputs-{self.outputs:g}"


AS_IT_IS = Altered()

#: runs experiments, in any order, and returns what they showed, in theirs
Measure = Callable[[Sequence[Scenario]], Sequence[MeasuredPoint]]


def measure(
    scenario: Scenario,
    targets: Sequence[Target],
    files: OwnFiles = NO_FILES,
    *,
    finite: bool = False,
    late: bool = False,
    altered: Altered = AS_IT_IS,
) -> MeasuredPoint:
    """Run a scenario; it is scored without its warm-up and without the requests that see it drain, if long enough.

    A `finite` one, a trace or days, is scored whole, unless its queue grows all the time; one that is judged `late` by
    its later half, likewise.
    """
    result = experiment.run(
        scenario, **files.load(), step_time_factor=altered.step_times, output_factor=altered.outputs
    )
    verdict = result.score.section(RunVerdict)
    count = len(result.record.requests["arrival_s"])
    lacks = 1.0 if finite or late else lacking(verdict.answer, verdict.evidence)
    point = MeasuredPoint(scenario.seed, count, verdict.answer, verdict.reason, {}, verdict.evidence, lacks=lacks)
    if verdict.answer not in (STEADY, TOO_SHORT) or lacks > NEARLY:
        return point
    window = experiment.make_window(scenario)
    if late and window == Window():
        arrival_s = result.delivered.arrival_s
        window = Window(start_s=float(np.median(arrival_s)), end_s=float(arrival_s.max()))
    elif not (finite or late):
        window = steady_window(scenario, result, verdict.evidence)
    asked = asked_requests(result, window)
    kept = Distributions.of(asked)
    missed = {str(target): events for target in targets if (events := missed_by(target, asked, kept)) is not None}
    metrics = [target.metric for target in targets if target.metric != STAGES]
    values = _values(result, asked, window, [*metrics, *ALWAYS_MEASURED])
    values[NEARLY_FULL] = nearly_full(result, files.load())
    for target in targets:
        if target.metric == STAGES:
            values[STAGES] = 1 - missed[str(target)].events / missed[str(target)].of
    if (paid := result.score.find(PaidInstances)) is not None:
        values[PAID_USD_PER_HOUR] = 3600 * paid.usd / result.record.end_s
    if late or altered != AS_IT_IS:
        return replace(point, values=values, missed=missed)
    others = {str(target): missed_at_other_bounds(target, asked, kept) for target in targets}
    moved = {name: bounds for name, bounds in others.items() if bounds is not None}
    return replace(point, values=values, missed=missed, moved=moved)


def lacking(answer: str, evidence: Mapping[str, Any]) -> float:
    """So many times as long a run should be to speak of a steady state; below 1 for one that is longer than that."""
    if answer != STEADY:
        return float(evidence.get("times_as_long", MOST_TIMES_AS_LONG))
    return min(1.0, LEAST_INDEPENDENT / float(evidence["independent_batches"]))


def steady_window(scenario: Scenario, result: experiment.Result, evidence: Mapping[str, Any]) -> Window:
    """Arrivals after the warm-up (MSER-5) and a mean service time before the last; the scenario's window if given."""
    window = experiment.make_window(scenario)
    if window != Window():
        return window
    arrival_s = result.delivered.arrival_s  # of a closed loop, the sending
    start_s, end_s = float(arrival_s.min()) + evidence["warm_up_s"], float(arrival_s.max())
    return Window(start_s=start_s, end_s=end_s - evidence["stay_in_service_s"])


def _values(result: experiment.Result, asked: Requests, window: Window, metrics: Sequence[str]) -> dict[str, float]:
    scenario, scheduled_s = result.scenario, asked.first_scheduled_s
    assert scheduled_s is not None
    slo, user = experiment.make_slo(scenario), experiment.make_user(scenario)
    score = score_delivered(result.delivered, result.record, scenario, slo=slo, user=user, window=window)
    if any(map(is_form, metrics)):
        score = score.having(forms_of(asked, scenario))
    found = {metric: value(metric, score, asked.counted, scheduled_s) for metric in dict.fromkeys(metrics)}
    return {metric: math.inf if math.isnan(number) else number for metric, number in found.items()}
