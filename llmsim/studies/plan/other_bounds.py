"""What a plan's runs say of other SLOs and targets: for each cluster that was looked at, all its runs together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from llmsim.metrics.moved_bounds import PooledBounds
from llmsim.studies.plan.evaluate import Evaluation
from llmsim.studies.plan.measured_runs import MeasuredPoint
from llmsim.studies.plan.plan_answers import Answer, AnsweredPlan
from llmsim.studies.plan.targets import Target


@dataclass(frozen=True, slots=True)
class RunValues:
    """A target's number in each run, None where it was not reached: its bound moves, those of the SLO do not."""

    values: tuple[float | None, ...]

    @property
    def bounds(self) -> Mapping[str, tuple[float, ...]]:
        """None that were counted at other steps."""
        return {}

    def asked_only(self) -> Self:
        """The same: no other bounds are known."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, as ``what_if.js`` reads them."""
        return {"values": list(self.values)}


#: what runs say of one target: its requests at each combination of steps, or its value in each run
OfTarget = PooledBounds | RunValues


@dataclass(frozen=True, slots=True)
class JudgedCluster:
    """A cluster at a load, and what its runs say of each target at other bounds."""

    gpus: Mapping[str, int]  #: by kind
    output_tokens_per_s: float | None
    steady: bool
    found: tuple[OfTarget, ...]  #: one a target; none of runs that were not steady

    @classmethod
    def of(cls, answer: Answer, evaluation: Evaluation, targets: Sequence[Target]) -> Self:
        """What an evaluation's runs say."""
        found = [_found(target, evaluation.runs) for target in targets] if evaluation.steady else []
        gpus = answer.candidate.gpus(evaluation.instances)
        return cls(gpus, evaluation.mean("output_tokens_per_s"), evaluation.steady, tuple(found))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "gpus": dict(self.gpus),
            "output_tokens_per_s": self.output_tokens_per_s,
            "steady": self.steady,
            "found": [one.to_dict() for one in self.found],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        found = tuple(
            RunValues(tuple(one["values"])) if "values" in one else PooledBounds.from_dict(one)
            for one in values["found"]
        )
        return cls(values["gpus"], values["output_tokens_per_s"], values["steady"], found)


@dataclass(frozen=True, slots=True)
class OtherBounds:
    """The targets, the load, and the clusters: enough to judge each of them by other bounds, as `Evaluator` does."""

    targets: tuple[Target, ...]
    given: bool  #: nothing of the load is drawn
    clusters: tuple[JudgedCluster, ...]  #: in the order of `evaluation_rows`

    @classmethod
    def of(cls, planned: AnsweredPlan) -> Self:
        """What all runs of a plan say."""
        targets = planned.question.targets
        clusters = (
            JudgedCluster.of(answer, evaluation, targets)
            for answer in planned.answers
            for evaluation in answer.evaluations
        )
        return cls(tuple(targets), planned.question.load.given, tuple(clusters))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "targets": [target.to_dict() for target in self.targets],
            "given": self.given,
            "clusters": [cluster.to_dict() for cluster in self.clusters],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        targets = (Target(one["metric"], one["at_least"], one["bound"]) for one in values["targets"])
        clusters = (JudgedCluster.from_dict(one) for one in values["clusters"])
        return cls(tuple(targets), values["given"], tuple(clusters))


def _found(target: Target, runs: Sequence[MeasuredPoint]) -> OfTarget:
    moved = [run.moved[str(target)] for run in runs if str(target) in run.moved]
    if moved and len(moved) == len(runs):
        return PooledBounds.of_runs(moved)
    values = (run.values[target.metric] for run in runs)
    return RunValues(tuple(value if math.isfinite(value) else None for value in values))
