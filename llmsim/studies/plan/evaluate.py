"""Does a cluster carry a load? Runs are added and lengthened until the answer is as sure as asked, or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from llmsim.scenario import Scenario
from llmsim.statistics import OVERLOADED, STEADY, TOO_SHORT, UNSERVED, mean
from llmsim.studies.plan.measured_runs import Measure, MeasuredPoint
from llmsim.studies.plan.targets import Target

CARRIES, FAILS, UNDECIDED = "carries", "fails", "undecided"
#: a run that was too short is followed by one so many times longer
LENGTH_FACTOR = 4

#: (requests, seed) -> the experiment
ExperimentOf = Callable[[int, int], Scenario]


@dataclass(frozen=True, slots=True)
class Rules:
    """How sure to be, and what that may cost."""

    confidence: float
    least_seeds: int
    most_seeds: int
    first_requests: int  #: of the first run
    most_requests: int  #: of the longest run
    given: bool = False  #: the requests are those of a trace: one run says all there is to say of them

    def lengths(self) -> Iterator[int]:
        """Requests of a run, from the first to the longest."""
        requests = min(self.first_requests, self.most_requests)
        while requests < self.most_requests:
            yield requests
            requests *= LENGTH_FACTOR
        yield self.most_requests


@dataclass(frozen=True)
class Evaluation:
    """Whether a cluster carries a load, how probable that is, and why."""

    instances: int
    amount: float  #: requests per second, or users
    answer: str  #: `CARRIES`, `FAILS` or `UNDECIDED`
    probability: float | None  #: that all targets are kept; None where the runs cannot tell
    reason: str
    runs: tuple[MeasuredPoint, ...]

    @property
    def steady(self) -> bool:
        """Whether all of its runs were steady, or whole in themselves, so that their numbers mean something."""
        return all(run.values for run in self.runs)

    def mean(self, metric: str) -> float | None:
        """Mean of a metric over the runs, None unless all are steady and have it."""
        if not all(metric in run.values for run in self.runs):
            return None
        return float(np.mean([run.values[metric] for run in self.runs]))


@dataclass(frozen=True)
class Evaluator:
    """Runs one cluster at one load until it can answer."""

    rules: Rules
    targets: Sequence[Target]
    measure: Measure
    first_seed: int = 0

    def __call__(self, instances: int, amount: float, experiment_of: ExperimentOf) -> Evaluation:
        """Answer; every length starts with one run, because overload and too short runs need no more."""
        for requests in self.rules.lengths():
            answer, probability, reason, runs = self._at_length(partial(experiment_of, requests))
            if answer != UNDECIDED:
                break
        return Evaluation(instances, amount, answer, probability, reason, tuple(runs))

    def _at_length(
        self, experiment_of: Callable[[int], Scenario]
    ) -> tuple[str, float | None, str, list[MeasuredPoint]]:
        runs: list[MeasuredPoint] = []
        self._add(runs, 1, experiment_of)
        if runs[0].answer == TOO_SHORT and not runs[0].values:
            return UNDECIDED, None, _too_short(runs), runs
        if runs[0].answer in (OVERLOADED, UNSERVED):
            self._add(runs, min(2, self.rules.most_seeds), experiment_of)
            if runs[-1].answer == runs[0].answer:
                return FAILS, 0.0, f"{runs[0].answer}: {runs[0].reason}", runs
            return UNDECIDED, None, _too_short(runs), runs
        seeds = self.rules.least_seeds
        while True:
            self._add(runs, seeds, experiment_of)
            if not all(run.values for run in runs):
                return UNDECIDED, None, _too_short(runs), runs
            answer, probability = self._judge(runs)
            if answer != UNDECIDED or seeds >= self.rules.most_seeds:
                return answer, probability, self._in_words(runs), runs
            seeds = min(2 * seeds, self.rules.most_seeds)

    def _add(self, runs: list[MeasuredPoint], up_to: int, experiment_of: Callable[[int], Scenario]) -> None:
        seeds = range(self.first_seed + len(runs), self.first_seed + up_to)
        runs.extend(self.measure([experiment_of(seed) for seed in seeds]))

    def _judge(self, runs: Sequence[MeasuredPoint]) -> tuple[str, float]:
        """For several targets: at least 1 - the sum of what each may fail by, at most the least (Bonferroni)."""
        each = [self._probability(target, runs) for target in self.targets]
        at_least, at_most = max(0.0, 1 - sum(1 - low for low, _ in each)), min(high for _, high in each)
        if at_least >= self.rules.confidence:
            return CARRIES, at_least
        return (FAILS, at_most) if at_most <= 1 - self.rules.confidence else (UNDECIDED, at_least)

    def _probability(self, target: Target, runs: Sequence[MeasuredPoint]) -> tuple[float, float]:
        """How probable it is that a target is kept; a given load, such as a trace, keeps it or does not."""
        if self.rules.given:
            kept = all(target.kept(run.values[target.metric]) for run in runs)
            return float(kept), float(kept)
        values = np.array([run.values[target.metric] for run in runs])
        missed = [run.missed[str(target)] for run in runs if str(target) in run.missed]
        return target.probability(values, missed)

    def _in_words(self, runs: Sequence[MeasuredPoint]) -> str:
        parts = []
        for target in self.targets:
            values = np.array([run.values[target.metric] for run in runs])
            parts.append(f"{target.metric} {_found(values)}")
        return ", ".join(parts)


def _found(values: NDArray[np.float64]) -> str:
    """Mean over runs, with its interval where they differ."""
    if not np.isfinite(values).all():
        return "not reached by all runs"
    interval = mean(values)
    spread = interval.bounded and interval.half_width > 0
    return str(interval) if spread else f"{interval.estimate:.4g}"


def _too_short(runs: Sequence[MeasuredPoint]) -> str:
    lacking = [run for run in runs if not run.values]
    counts = f"{len(lacking)} of {len(runs)} runs of {runs[0].requests:,} requests"
    answers = {run.answer for run in runs}
    if {STEADY, OVERLOADED} <= answers or {TOO_SHORT, OVERLOADED} <= answers:
        return f"runs of {runs[0].requests:,} requests disagree: {', '.join(sorted(answers))}"
    return f"too short: {counts}, because {lacking[0].reason}"
