"""Capacity plans: the fewest instances for a load, or the largest load for a cluster, within targets, and how sure."""

from __future__ import annotations

from llmsim.studies.plan.candidates import Candidate
from llmsim.studies.plan.definition import Question, read_plan
from llmsim.studies.plan.evaluate import CARRIES, FAILS, UNDECIDED, Evaluation, Evaluator, Rules
from llmsim.studies.plan.plan import Answer, Planned, make_plan
from llmsim.studies.plan.search import boundary
from llmsim.studies.plan.store import MARK, evaluation_rows, to_dict, write
from llmsim.studies.plan.words import in_words, sentence

__all__ = [
    "CARRIES",
    "FAILS",
    "MARK",
    "UNDECIDED",
    "Answer",
    "Candidate",
    "Evaluation",
    "Evaluator",
    "Planned",
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
