"""Comparisons: scenarios or schedulers on the same requests, with the same seeds, pair by pair."""

from __future__ import annotations

from llmsim.studies.compare.baseline import read_baseline
from llmsim.studies.compare.comparison import Against, Comparison, compare, known_metrics
from llmsim.studies.compare.comparison_folder import COMPARISON_FILE, as_json, difference_rows, withheld, write
from llmsim.studies.compare.conditions import Answer, Condition, on_forms, parse_condition
from llmsim.studies.compare.differences import Difference
from llmsim.studies.compare.request_pairs import Group, Pair
from llmsim.studies.compare.side_runs import Run
from llmsim.studies.compare.sides import Side, read_sides

__all__ = [
    "COMPARISON_FILE",
    "Against",
    "Answer",
    "Comparison",
    "Condition",
    "Difference",
    "Group",
    "Pair",
    "Run",
    "Side",
    "as_json",
    "compare",
    "difference_rows",
    "known_metrics",
    "on_forms",
    "parse_condition",
    "read_baseline",
    "read_sides",
    "withheld",
    "write",
]
