"""A plan as rows: one for each cluster and load that was looked at, and one for each run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from llmsim.studies.plan.candidates import Candidate
from llmsim.studies.plan.evaluate import CARRIES, Evaluation, outcome
from llmsim.studies.plan.loads import RATE, USERS
from llmsim.studies.plan.plan_answers import Answer, AnsweredPlan


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """What tells one candidate of a plan from another."""

    gpu: str  #: name of its profile
    tensor_parallel_size: int
    scheduler: str  #: with its options, and what else is varied, in words
    unit: str | None = None  #: one unit of pools, or an instance of several stages or ranks, in words

    @classmethod
    def of(cls, candidate: Candidate) -> Self:
        """The row of a candidate."""
        scenario, cluster = candidate.scenario, candidate.scenario.cluster
        told_by_size = not scenario.pool and cluster.gpus_per_instance == cluster.tensor_parallel_size
        unit = None if told_by_size else candidate.hardware
        return cls(candidate.gpu, cluster.tensor_parallel_size, candidate.scheduler, unit)

    @property
    def hardware(self) -> str:
        """The GPUs of an instance, or unit of pools, in words."""
        size = self.tensor_parallel_size
        return self.unit or f"{self.gpu}{f' TP{size}' if size > 1 else ''}"

    @property
    def name(self) -> str:
        """Hardware and scheduler, in words."""
        return f"{self.hardware}, {self.scheduler}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and Parquet."""
        values = {"gpu": self.gpu, "tensor_parallel_size": self.tensor_parallel_size, "scheduler": self.scheduler}
        return values if self.unit is None else {**values, "unit": self.unit}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote, among other keys."""
        return cls(values["gpu"], values["tensor_parallel_size"], values["scheduler"], values.get("unit"))


@dataclass(frozen=True, slots=True)
class LoadRow:
    """A load that was looked at."""

    key: str  #: `RATE` or `USERS`
    amount: float

    def __str__(self) -> str:
        return f"{self.amount:g} users" if self.key == USERS else f"{self.amount:g}/s"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read the one key of a load among others."""
        key = RATE if RATE in values else USERS
        return cls(key, values[key])


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """What was found of a candidate at one size and load: a row of ``evaluations.parquet``."""

    candidate: CandidateRow
    instances: int
    load: LoadRow
    answer: str  #: `CARRIES`, `FAILS` or `UNDECIDED`
    probability: float | None
    reason: str
    seeds: int
    requests: int  #: of a run
    usd_per_hour: float
    usd_per_million_tokens: float | None  #: None, as the next, unless its runs were steady
    user_tokens_per_s: float | None  #: median user's speed after the first token

    @classmethod
    def of(cls, answer: Answer, evaluation: Evaluation) -> Self:
        """The row of one of a candidate's evaluations."""
        return cls(
            CandidateRow.of(answer.candidate),
            evaluation.instances,
            LoadRow(answer.candidate.load.key, evaluation.amount),
            evaluation.answer,
            evaluation.probability,
            evaluation.reason,
            len(evaluation.runs),
            evaluation.runs[0].requests,
            answer.usd_per_hour(evaluation),
            answer.usd_per_million_tokens(evaluation),
            answer.user_tokens_per_s(evaluation),
        )

    @property
    def carries(self) -> bool:
        """Whether it carries the load."""
        return self.answer == CARRIES

    @property
    def outcome(self) -> str:
        """The answer, or that the runs were overloaded, too short, or served nothing."""
        return outcome(self.answer, self.reason)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and Parquet."""
        return {**self.candidate.to_dict(), **self.found()}

    def found(self) -> dict[str, Any]:
        """Those without the candidate's."""
        return {"instances": self.instances, self.load.key: self.load.amount} | {
            name: getattr(self, name) for name in _FOUND
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; KeyError for anything else."""
        found = (values[name] for name in _FOUND)
        return cls(CandidateRow.from_dict(values), values["instances"], LoadRow.from_dict(values), *found)


#: fields of an evaluation's row that have their own names as keys
_FOUND = EvaluationRow.__slots__[3:]


def evaluation_rows(planned: AnsweredPlan) -> Iterator[EvaluationRow]:
    """One row for each candidate and each size or rate that was looked at."""
    for answer in planned.answers:
        for evaluation in answer.evaluations:
            yield EvaluationRow.of(answer, evaluation)


def run_rows(planned: AnsweredPlan) -> Iterator[dict[str, Any]]:
    """Rows of ``runs.parquet``, one for each run; metrics of runs that were not steady are missing."""
    for answer in planned.answers:
        for evaluation in answer.evaluations:
            for run in evaluation.runs:
                yield {
                    **CandidateRow.of(answer.candidate).to_dict(),
                    "instances": evaluation.instances,
                    answer.candidate.load.key: evaluation.amount,
                    "seed": run.seed,
                    "requests": run.requests,
                    "verdict": run.answer,
                    "reason": run.reason,
                    **{name: number for name, number in run.values.items() if math.isfinite(number)},
                    **{f"evidence.{name}": number for name, number in run.evidence.items()},
                }
