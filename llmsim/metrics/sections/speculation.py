"""What was drafted, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from llmsim.metrics.kpi import LESS, MORE, Kpi, OfRun
from llmsim.metrics.scored import Run
from llmsim.metrics.summary import number
from llmsim.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class Speculation(OfRun):
    """Drafted tokens of all requests. What a request accepts beyond its end is not counted as accepted."""

    key: ClassVar[str] = "speculation"

    #: mean tokens that a step yielded of a decoding request
    acceptance_length: Annotated[float | None, Kpi("acceptance length", "tokens", "ratio", MORE)]
    drafted_tokens: Annotated[int, Kpi("drafted", "tokens", "count")]
    accepted_tokens: Annotated[int, Kpi("drafted and accepted", "tokens", "count", MORE)]
    wasted_tokens: Annotated[int, Kpi("drafted in vain", "tokens", "count", LESS)]

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether any tokens are drafted."""
        return scenario.speculates

    @classmethod
    def of(cls, run: Run) -> Self:
        """Count."""
        steps, segments = run.record.steps, run.record.segments
        verified = steps["steps"] * steps["decoding"]
        drafted = int((steps["steps"] * steps["drafted_tokens"]).sum())
        yielded, verifications = int(segments["tokens"].sum()), int(verified.sum())
        accepted = yielded - int(segments["steps"].sum())
        length = number(yielded / verifications) if verifications else None
        return cls(length, drafted, accepted, drafted - accepted)
