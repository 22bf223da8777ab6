"""A claim of the paper, and what a figure is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from llmsim.figures.plan import Plan, Sweep

Sweeps = Mapping[Plan, Sweep]


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said, whether it was seen, on what evidence, and where it stops holding."""

    claim: int
    statement: str
    passed: bool | None  #: None: could not be tested here
    evidence: tuple[str, ...]
    limits: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "claim": self.claim,
            "statement": self.statement,
            "passed": self.passed,
            "evidence": list(self.evidence),
            "limits": list(self.limits),
        }


@dataclass(frozen=True, eq=False)
class Made:
    """A figure's outcome: its claim, pictures and tables, by file name without extension."""

    claim: Claim
    pictures: Mapping[str, Figure]
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PaperFigure:
    """One figure: the runs it needs (quick or not), and how it is made of them."""

    name: str
    shows: str
    plans: Callable[[bool], tuple[Plan, ...]]
    make: Callable[[Sweeps, bool], Made]
    numbers: Mapping[str, str] = field(default_factory=dict)  #: picture -> its number in the paper, of two digits

    def file_name(self, picture: str) -> str:
        """The name of a picture's file: with the number that it has in the paper."""
        number = self.numbers.get(picture)
        return picture if number is None else f"figure_{number}_{picture}"
