"""Whether a run may speak of a steady state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from llmsim.metrics.kpi import Kpi, Section
from llmsim.statistics import Verdict


@dataclass(frozen=True, slots=True, eq=False)
class RunVerdict(Section):
    """The verdict of `llmsim.statistics.judge`, and what became of the tails of a run that is not steady."""

    key: ClassVar[str] = "verdict"
    compared: ClassVar[bool] = False

    answer: str  #: "steady", "overloaded" or "too short"
    reason: str
    evidence: Annotated[Mapping[str, float | int | None], Kpi("evidence of the verdict", kind="basis")]
    withheld: Sequence[str] | None = None  #: keys of the tails that are not shown
    forced: Sequence[str] | None = None  #: keys of the tails that are shown, and not to be relied on

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        """A verdict as a section of a score."""
        return cls(verdict.answer, verdict.reason, dict(verdict.evidence))
