"""A plan in a folder: the answer in JSON, every evaluation and every run as a row of Parquet."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmsim.experiment.result_folder import write_json
from llmsim.experiment.seal import question, seal
from llmsim.studies.plan.evaluate import Evaluation
from llmsim.studies.plan.other_bounds import other_bounds
from llmsim.studies.plan.plan_answers import Answer, AnsweredPlan
from llmsim.studies.plan.plan_question import Question
from llmsim.studies.plan.plan_sentences import sentence

#: the file whose presence makes a folder a plan
PLAN_FILE = "plan.json"
#: what its runs say of other SLOs, for the page's sliders
OTHER_BOUNDS = "other_bounds.json"


def to_dict(planned: AnsweredPlan) -> dict[str, Any]:
    """The question and its answers as plain values for JSON."""
    question, best = planned.question, planned.best
    return {
        "name": question.scenario.name,
        "find": question.table.find,
        "targets": [str(target) for target in question.targets],
        "confidence": question.table.confidence,
        "answer": sentence(planned),
        "command": question.command,
        "best": None if best is None else planned.answers.index(best),
        "load": question.load.stated,
        "left_out": [*question.left_out, *planned.pruned],
        "candidates": [_answer(answer) for answer in planned.answers],
        **_beside(planned),
        "evaluations": list(evaluation_rows(planned)),
        "scenario": question.scenario.model_dump(mode="json"),
        "plan": question.table.model_dump(mode="json"),
    }


def _beside(planned: AnsweredPlan) -> dict[str, Any]:
    """What only some plans have."""
    found: dict[str, Any] = {} if not planned.question.about else {"capacity": planned.question.about}
    if planned.certainty is not None:
        found["with_model_error"] = planned.certainty.to_dict()
    if planned.tornado is not None:
        found["tornado"] = planned.tornado.to_dict()
    if planned.autoscaled is not None:
        found["autoscaled"] = _evaluation(planned.autoscaled, planned.autoscaled.evaluations[0])
    if planned.phases:
        found["phases"] = [
            {"rate_per_s": rate, "instances": None if one.carries is None else one.carries.instances}
            for rate, one in planned.phases
        ]
    return found


def _answer(answer: Answer) -> dict[str, Any]:
    carries, neighbour = answer.carries, answer.neighbour
    return {
        **_candidate(answer),
        **({} if answer.candidate.engine is None else {"engine": answer.candidate.engine}),
        "step_times": answer.candidate.step_times,
        "price_usd_per_gpu_hour": answer.candidate.price_usd_per_hour,
        "carries": None if carries is None else _evaluation(answer, carries),
        "neighbour": None if neighbour is None else _evaluation(answer, neighbour),
        "settled": answer.settled,
        "binds": None if answer.binding is None else {**answer.binding.to_dict(), **_bound(answer)},
    }


def _bound(answer: Answer) -> dict[str, Any]:
    """The cluster and the load at which it binds."""
    assert answer.bound is not None
    return {"instances": answer.bound.instances, answer.candidate.load.key: answer.bound.amount}


def _candidate(answer: Answer) -> dict[str, Any]:
    cluster = answer.candidate.scenario.cluster
    return {
        "gpu": answer.candidate.gpu,
        "tensor_parallel_size": cluster.tensor_parallel_size,
        "scheduler": answer.candidate.scheduler,
        **({"unit": answer.candidate.hardware} if answer.candidate.scenario.pool else {}),
    }


def _evaluation(answer: Answer, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "instances": evaluation.instances,
        answer.candidate.load.key: evaluation.amount,
        "answer": evaluation.answer,
        "probability": evaluation.probability,
        "reason": evaluation.reason,
        "seeds": len(evaluation.runs),
        "requests": evaluation.runs[0].requests,
        "usd_per_hour": answer.usd_per_hour(evaluation),
        "usd_per_million_tokens": answer.usd_per_million_tokens(evaluation),
        "user_tokens_per_s": answer.user_tokens_per_s(evaluation),
    }


def evaluation_rows(planned: AnsweredPlan) -> Iterator[dict[str, Any]]:
    """One row for each candidate and each size or rate that was looked at."""
    for answer in planned.answers:
        for evaluation in answer.evaluations:
            yield {**_candidate(answer), **_evaluation(answer, evaluation)}


def run_rows(planned: AnsweredPlan) -> Iterator[dict[str, Any]]:
    """One row for each run that an answer rests on; metrics of runs that were not steady are missing."""
    for answer in planned.answers:
        for evaluation in answer.evaluations:
            for run in evaluation.runs:
                yield {
                    **_candidate(answer),
                    "instances": evaluation.instances,
                    answer.candidate.load.key: evaluation.amount,
                    "seed": run.seed,
                    "requests": run.requests,
                    "verdict": run.answer,
                    "reason": run.reason,
                    **{name: number for name, number in run.values.items() if math.isfinite(number)},
                    **{f"evidence.{name}": number for name, number in run.evidence.items()},
                }


def write(planned: AnsweredPlan, folder: Path) -> None:
    """Write a plan's files into an existing folder."""
    import pandas as pd

    pd.DataFrame(list(evaluation_rows(planned))).to_parquet(folder / "evaluations.parquet", index=False)
    pd.DataFrame(list(run_rows(planned))).to_parquet(folder / "runs.parquet", index=False)
    (folder / OTHER_BOUNDS).write_text(json.dumps(other_bounds(planned), allow_nan=False) + "\n", encoding="utf-8")
    write_json(folder / PLAN_FILE, to_dict(planned))
    seal(folder, question_of(planned.question))


def question_of(asked: Question) -> str:
    """What a plan answers, as a checksum."""
    return question(scenario=asked.scenario.model_dump(mode="json"), plan=asked.table.model_dump(mode="json"))
