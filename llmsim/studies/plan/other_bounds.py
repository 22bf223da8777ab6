"""What a plan's runs say of other SLOs and targets: for each cluster that was looked at, all its runs together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from llmsim.metrics.moved_bounds import pooled_bounds
from llmsim.studies.plan.evaluate import Evaluation
from llmsim.studies.plan.measured_runs import MeasuredPoint
from llmsim.studies.plan.plan_answers import Answer, AnsweredPlan
from llmsim.studies.plan.targets import Target


def other_bounds(planned: AnsweredPlan) -> dict[str, Any]:
    """The targets, the load, and the clusters: enough to judge each of them by other bounds, as `Evaluator` does.

    Targets of shares have their requests in clusters at each combination of steps; others the value of each run.
    """
    return {
        "targets": [_target(target) for target in planned.question.targets],
        "given": planned.question.load.given,
        "clusters": [
            _cluster(answer, evaluation, planned.question.targets)
            for answer in planned.answers
            for evaluation in answer.evaluations
        ],
    }


def _target(target: Target) -> dict[str, Any]:
    return {
        "metric": target.metric,
        "at_least": target.at_least,
        "bound": target.bound,
        "most_missing": target.most_missing,
        "of_slo": target.of_slo,
    }


def _cluster(answer: Answer, evaluation: Evaluation, targets: Sequence[Target]) -> dict[str, Any]:
    return {
        "gpus": answer.candidate.gpus(evaluation.instances),
        "output_tokens_per_s": evaluation.mean("output_tokens_per_s"),
        "steady": evaluation.steady,
        "found": [_found(target, evaluation.runs) for target in targets] if evaluation.steady else [],
    }


def _found(target: Target, runs: Sequence[MeasuredPoint]) -> dict[str, Any]:
    moved = [run.moved[str(target)] for run in runs if str(target) in run.moved]
    if moved and len(moved) == len(runs):
        return pooled_bounds(moved)
    values = (run.values[target.metric] for run in runs)
    return {"values": [value if math.isfinite(value) else None for value in values]}
