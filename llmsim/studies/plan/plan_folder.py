"""A plan in a folder: the answer in JSON, every evaluation and every run as a row of Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmsim.experiment.result_folder import write_json
from llmsim.experiment.seal import question, seal
from llmsim.studies.plan.other_bounds import OtherBounds
from llmsim.studies.plan.plan_answers import Answer, AnsweredPlan
from llmsim.studies.plan.plan_question import Question
from llmsim.studies.plan.plan_rows import CandidateRow, EvaluationRow, evaluation_rows, run_rows
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
        "evaluations": [row.to_dict() for row in evaluation_rows(planned)],
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
        found["autoscaled"] = EvaluationRow.of(planned.autoscaled, planned.autoscaled.evaluations[0]).found()
    if planned.phases:
        found["phases"] = [
            {"rate_per_s": rate, "instances": None if one.carries is None else one.carries.instances}
            for rate, one in planned.phases
        ]
    for name, days in (("by_phase", planned.days), ("autoscaled_by_phase", planned.autoscaled_days)):
        if days:
            found[name] = [phase.to_dict() for phase in days]
    return found


def _answer(answer: Answer) -> dict[str, Any]:
    carries, neighbour = answer.carries, answer.neighbour
    return {
        **CandidateRow.of(answer.candidate).to_dict(),
        **({} if answer.candidate.engine is None else {"engine": answer.candidate.engine}),
        "step_times": answer.candidate.step_times,
        "price_usd_per_gpu_hour": answer.candidate.price_usd_per_hour,
        "carries": None if carries is None else EvaluationRow.of(answer, carries).found(),
        "neighbour": None if neighbour is None else EvaluationRow.of(answer, neighbour).found(),
        "settled": answer.settled,
        "binds": None if answer.binding is None else {**answer.binding.to_dict(), **_bound(answer)},
    }


def _bound(answer: Answer) -> dict[str, Any]:
    """The cluster and the load at which it binds."""
    assert answer.bound is not None
    return {"instances": answer.bound.instances, answer.candidate.load.key: answer.bound.amount}


def write(planned: AnsweredPlan, folder: Path) -> None:
    """Write a plan's files into an existing folder."""
    import pandas as pd

    evaluations = [row.to_dict() for row in evaluation_rows(planned)]
    pd.DataFrame(evaluations).to_parquet(folder / "evaluations.parquet", index=False)
    pd.DataFrame(list(run_rows(planned))).to_parquet(folder / "runs.parquet", index=False)
    others = json.dumps(OtherBounds.of(planned).to_dict(), allow_nan=False)
    (folder / OTHER_BOUNDS).write_text(others + "\n", encoding="utf-8")
    write_json(folder / PLAN_FILE, to_dict(planned))
    seal(folder, question_of(planned.question))


def question_of(asked: Question) -> str:
    """What a plan answers, as a checksum."""
    return question(scenario=asked.scenario.model_dump(mode="json"), plan=asked.table.model_dump(mode="json"))
