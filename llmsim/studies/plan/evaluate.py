"""Does a cluster carry a load? Runs are added and lengthened until the answer is as sure as asked, or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from llmsim.scenario import Scenario
from llmsim.statistics import OVERLOADED, STEADY, TOO_SHORT, UNSERVED
from llmsim.statistics.shares import Clusters
from llmsim.studies.plan.measured_runs import Measure, MeasuredPoint
from llmsim.studies.plan.targets import Target

#: runs of a cluster at a load, at the least
FEWEST = 2
CARRIES, FAILS, UNDECIDED = "carries", "fails", "undecided"
#: of one run, which answers for itself alone
LIKELY, UNLIKELY = "likely", "unlikely"
#: runs that cannot tell are followed by runs so many times longer
LENGTH_FACTOR = 4.0
#: runs that are too short by runs that have what these lack, and a share more; so many times longer at least, at most
SPARE, LEAST_FACTOR, MOST_FACTOR = 1.15, 1.25, 8.0
#: half the seeds are enough where they leave this share of the doubt that is asked for
CLEAR = 0.1

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
    #: requests that all seeds of one length may have, beyond the fewest seeds: a search for the largest load comes as
    #: near the edge as is asked, where no number of them may tell; None: as many as there are seeds for
    budget: int | None = None

    def longer(self, runs: Sequence[MeasuredPoint], requests: int) -> int | None:
        """Requests of the runs that follow those that cannot tell, by what these lack; None: no longer ones follow.

        Within the budget runs that were long enough are followed by such as have twice as many requests in all.
        """
        if requests >= self.most_requests:
            return None
        if long_enough(runs):
            factor = LENGTH_FACTOR
            if self.budget is not None and 2 * len(runs) * requests > self.budget:
                return None
        else:
            lacks = float(np.mean([run.lacks for run in runs]))
            factor = min(MOST_FACTOR, max(LEAST_FACTOR, SPARE * lacks)) if lacks > 1 else LENGTH_FACTOR
        return min(self.most_requests, round(requests * factor))

    def seeds(self, requests: int) -> Iterator[int]:
        """Runs after which the targets are judged: half of the fewest, the fewest, then twice as many each time."""
        if (half := self.least_seeds // 2) >= FEWEST:
            yield half
        seeds = self.least_seeds
        while seeds < self.most_seeds and (self.budget is None or 2 * seeds * requests <= self.budget):
            yield seeds
            seeds *= 2
        yield min(seeds, self.most_seeds)


@dataclass(frozen=True)
class Evaluation:
    """Whether a cluster carries a load, how probable that is, and why."""

    instances: int
    amount: float  #: requests per second, or users
    answer: str  #: `CARRIES`, `FAILS` or `UNDECIDED`; `LIKELY` or `UNLIKELY` by one run
    probability: float | None  #: that all targets are kept; None where the runs cannot tell
    reason: str
    runs: tuple[MeasuredPoint, ...]
    crowded: bool = False  #: told by what one instance finishes that never lacks work, without a run of its own
    unloaded: bool = False  #: told by requests that come one at a time: no number of instances keeps the targets

    @property
    def outcome(self) -> str:
        """The answer, or why there is none to read off: overloaded, too short, nothing served."""
        return outcome(self.answer, self.reason)

    @property
    def steady(self) -> bool:
        """Whether its runs were long enough together, or whole in themselves, so that their numbers mean something."""
        return long_enough(self.runs)

    def mean(self, metric: str) -> float | None:
        """Mean of a metric over the runs, None unless all are steady and have it."""
        if not self.steady or not all(metric in run.values for run in self.runs):
            return None
        return float(np.mean([run.values[metric] for run in self.runs]))


def outcome(answer: str, reason: str) -> str:
    """An answer in a word or two: what the runs were, where that is why, or the answer itself."""
    kind = reason.partition(":")[0]
    return kind if kind in (OVERLOADED, TOO_SHORT, UNSERVED) else answer


@dataclass(frozen=True)
class Evaluator:
    """Runs one cluster at one load until it can answer."""

    rules: Rules
    targets: Sequence[Target]
    measure: Measure
    first_seed: int = 0

    def __call__(self, instances: int, amount: float, experiment_of: ExperimentOf) -> Evaluation:
        """Answer; every length starts with one run, because overload and too short runs need no more."""
        requests: int | None = min(self.rules.first_requests, self.rules.most_requests)
        while requests is not None:
            answer, probability, reason, runs = self._at_length(partial(experiment_of, requests), requests)
            requests = None if answer != UNDECIDED else self.rules.longer(runs, requests)
        return Evaluation(instances, amount, answer, probability, reason, tuple(runs))

    def glance(self, instances: int, amount: float, experiment_of: ExperimentOf) -> Evaluation:
        """Answer what one run shows, made longer until it shows something; how probable that is remains open."""
        requests: int | None = min(self.rules.first_requests, self.rules.most_requests)
        while requests is not None:
            (run,) = self.measure([experiment_of(requests, self.first_seed)])
            told = run.values or run.answer in (OVERLOADED, UNSERVED)
            requests = None if told else self.rules.longer([run], requests)
        kept = bool(run.values) and all(target.kept(run.values[target.metric]) for target in self.targets)
        reason = self._in_words([run]) if run.values else f"{run.answer}: {run.reason}"
        return Evaluation(instances, amount, LIKELY if kept else UNLIKELY, None, reason, (run,))

    def _at_length(
        self, experiment_of: Callable[[int], Scenario], requests: int
    ) -> tuple[str, float | None, str, list[MeasuredPoint]]:
        runs: list[MeasuredPoint] = []
        self._add(runs, 1, experiment_of)
        if runs[0].answer == TOO_SHORT and not (runs[0].values and (runs[0].lacks <= 1 or self.rules.given)):
            return UNDECIDED, None, _too_short(runs), runs
        if runs[0].answer in (OVERLOADED, UNSERVED):
            self._add(runs, min(2, self.rules.most_seeds), experiment_of)
            if runs[-1].answer == runs[0].answer:
                return FAILS, 0.0, f"{runs[0].answer}: {runs[0].reason}", runs
            return UNDECIDED, None, _too_short(runs), runs
        for seeds in self.rules.seeds(requests):
            self._add(runs, seeds, experiment_of)
            if not (self.rules.given or long_enough(runs)):
                return UNDECIDED, None, _too_short(runs), runs
            answer, probability = self._judge(runs, CLEAR if seeds < self.rules.least_seeds else 1.0)
            if answer != UNDECIDED:
                break
        return answer, probability, self._in_words(runs), runs

    def _add(self, runs: list[MeasuredPoint], up_to: int, experiment_of: Callable[[int], Scenario]) -> None:
        seeds = range(self.first_seed + len(runs), self.first_seed + up_to)
        runs.extend(self.measure([experiment_of(seed) for seed in seeds]))

    def _judge(self, runs: Sequence[MeasuredPoint], doubt: float) -> tuple[str, float]:
        """Decide if no more than this share of the doubt that is asked for is left.

        For several targets: at least 1 - the sum of what each may fail by, at most the least (Bonferroni).
        """
        each = [self._probability(target, runs) for target in self.targets]
        at_least, at_most = max(0.0, 1 - sum(1 - low for low, _ in each)), min(high for _, high in each)
        may_err = doubt * (1 - self.rules.confidence)
        if at_least >= 1 - may_err:
            return CARRIES, at_least
        return (FAILS, at_most) if at_most <= may_err else (UNDECIDED, at_least)

    def _probability(self, target: Target, runs: Sequence[MeasuredPoint]) -> tuple[float, float]:
        """How probable it is that a target is kept; a given load, such as a trace, keeps it or does not."""
        if self.rules.given:
            kept = all(target.kept(run.values[target.metric]) for run in runs)
            return float(kept), float(kept)
        return target.probability(*_of(target, runs))

    def _in_words(self, runs: Sequence[MeasuredPoint]) -> str:
        return ", ".join(f"{target.metric} {_found(target, runs)}" for target in self.targets)


def long_enough(runs: Sequence[MeasuredPoint]) -> bool:
    """Whether runs may speak of a steady state together: one that is a little too short has others that are longer.

    The mean of equal runs has an effective sample size of their number times the harmonic mean of theirs.
    """
    return all(run.values for run in runs) and sum(run.lacks for run in runs) <= len(runs)


def _of(target: Target, runs: Sequence[MeasuredPoint]) -> tuple[NDArray[np.float64], list[Clusters]]:
    """A target's value in each run, and the requests that miss it, where it is of single requests."""
    values = np.array([run.values[target.metric] for run in runs])
    return values, [run.missed[str(target)] for run in runs if str(target) in run.missed]


def _found(target: Target, runs: Sequence[MeasuredPoint]) -> str:
    """Mean over runs, with its interval where there is one."""
    values, missed = _of(target, runs)
    if not np.isfinite(values).all():
        return "not reached by all runs"
    interval = target.interval(values, missed)
    spread = interval.bounded and interval.half_width > 0
    return str(interval) if spread else f"{interval.estimate:.4g}"


def _too_short(runs: Sequence[MeasuredPoint]) -> str:
    lacking = [run for run in runs if not run.values or run.lacks > 1]
    counts = f"{len(lacking)} of {len(runs)} runs of {runs[0].requests:,} requests"
    answers = {run.answer for run in runs}
    if {STEADY, OVERLOADED} <= answers or {TOO_SHORT, OVERLOADED} <= answers:
        return f"runs of {runs[0].requests:,} requests disagree: {', '.join(sorted(answers))}"
    return f"too short: {counts}, because {lacking[0].reason}"
