"""Capacity plans: the fewest instances for a load, or the largest load for a cluster, within targets, and how sure."""

from __future__ import annotations

from llmsim.studies.plan.candidates import Candidate
from llmsim.studies.plan.evaluate import CARRIES, FAILS, UNDECIDED, Evaluation, Evaluator, Rules
from llmsim.studies.plan.plan_answers import Answer, AnsweredPlan
from llmsim.studies.plan.plan_folder import PLAN_FILE, to_dict, write
from llmsim.studies.plan.plan_question import Question, read_plan
from llmsim.studies.plan.plan_rows import EvaluationRow, evaluation_rows
from llmsim.studies.plan.plan_sentences import in_words, sentence
from llmsim.studies.plan.planner import EXPECTED_EVALUATIONS, make_plan
from llmsim.studies.plan.search import boundary

__all__ = [
    "CARRIES",
    "EXPECTED_EVALUATIONS",
    "FAILS",
    "PLAN_FILE",
    "UNDECIDED",
    "Answer",
    "AnsweredPlan",
    "Candidate",
    "Evaluation",
    "EvaluationRow",
    "Evaluator",
    "Question",
    "Rules",
    "boundary",
    "evaluation_rows",
    "in_words",
    "make_plan",
    "read_plan",
    "sentence",
    "to_dict",
    "write",
]
