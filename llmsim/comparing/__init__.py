"""Comparisons: scenarios or schedulers on the same requests, with the same seeds, pair by pair."""

from __future__ import annotations

from llmsim.comparing.compare import Against, Comparison, compare, known_metrics
from llmsim.comparing.conditions import Answer, Condition, parse_condition
from llmsim.comparing.differences import Difference
from llmsim.comparing.requests import Group, Pair
from llmsim.comparing.runs import Run
from llmsim.comparing.sides import Side, read_sides
from llmsim.comparing.store import MARK, as_json, withheld, write

__all__ = [
    "MARK",
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
    "known_metrics",
    "parse_condition",
    "read_sides",
    "withheld",
    "write",
]
