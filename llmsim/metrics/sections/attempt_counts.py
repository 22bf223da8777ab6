"""Attempts at requests that were tried again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import numpy as np

from llmsim.metrics.attempts import Columns, final
from llmsim.metrics.kpi import LESS, MORE, Kpi, OfRun
from llmsim.metrics.scored import Run
from llmsim.request import Outcome
from llmsim.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class AttemptCounts(OfRun):
    """How many attempts there were, how they ended, and what came of the requests that needed more than one."""

    key: ClassVar[str] = "attempts"
    compared: ClassVar[bool] = False

    total: Annotated[int, Kpi("attempts", kind="basis")]
    unfinished: Annotated[int, Kpi("attempts unfinished", better=LESS)]
    finished: Annotated[int, Kpi("attempts finished", better=MORE)]
    abandoned: Annotated[int, Kpi("attempts abandoned", better=LESS)]
    cancelled: Annotated[int, Kpi("attempts cancelled", better=LESS)]
    rejected: Annotated[int, Kpi("attempts rejected", better=LESS)]
    per_request: Annotated[float, Kpi("attempts per request", kind="ratio", better=LESS)]
    requests_tried_again: Annotated[int, Kpi("requests tried again", better=LESS)]
    of_these_finished: Annotated[int, Kpi("of these finished", better=MORE)]
    requests_by_attempts: Sequence[int]  #: requests that took 1, 2, … attempts

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether requests are tried again at all."""
        return scenario.retries.max_attempts > 1

    @classmethod
    def of(cls, run: Run) -> Self | None:
        """Count; None where no request was tried again."""
        return cls.count(run.record.requests)

    @classmethod
    def count(cls, requests: Columns) -> Self | None:
        """Count the rows of `requests`, one an attempt."""
        if not requests.get("attempt", np.zeros(1)).any():
            return None
        last = final(requests)
        outcome, attempt = requests["outcome"], requests["attempt"]
        counts = np.bincount(outcome, minlength=len(Outcome))
        again = last & (attempt > 0)
        return cls(
            total=len(outcome),
            **{one.name.lower(): int(counts[one]) for one in Outcome},
            per_request=float(len(outcome) / last.sum()),
            requests_tried_again=int(again.sum()),
            of_these_finished=int((outcome[again] == Outcome.FINISHED).sum()),
            requests_by_attempts=np.bincount(attempt[last] + 1).tolist()[1:],
        )
