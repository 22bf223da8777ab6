"""Capacity plans: the fewest instances for a load, or the largest load for a cluster, within targets, and how sure."""

from __future__ import annotations

from llmsim.planning.candidates import Candidate
from llmsim.planning.definition import Question, read_plan
from llmsim.planning.evaluate import CARRIES, FAILS, UNDECIDED, Evaluation, Evaluator, Rules
from llmsim.planning.plan import Answer, Planned, make_plan
from llmsim.planning.search import boundary
from llmsim.planning.store import MARK, evaluation_rows, to_dict, write
from llmsim.planning.words import in_words, sentence

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
