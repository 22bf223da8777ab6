"""Conversations and their turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import numpy as np

from llmsim.metrics.attempts import Columns, final
from llmsim.metrics.kpi import LESS, MORE, Kpi, OfRun
from llmsim.metrics.scored import Run
from llmsim.request import Outcome


@dataclass(frozen=True, slots=True, eq=False)
class ConversationCounts(OfRun):
    """Conversations by how they ended.

    Broken: a turn failed for good, and those after it were never sent: these are in no other number of a score.
    """

    key: ClassVar[str] = "conversations"
    compared: ClassVar[bool] = False

    total: Annotated[int, Kpi("conversations", kind="basis")]
    complete: Annotated[int, Kpi("conversations complete", better=MORE)]
    broken: Annotated[int, Kpi("conversations broken", better=LESS)]
    unfinished: Annotated[int, Kpi("conversations unfinished", better=LESS)]
    turns_sent: Annotated[int, Kpi("turns sent", better=MORE)]
    turns_never_sent: Annotated[int, Kpi("turns never sent", better=LESS)]

    @classmethod
    def of(cls, run: Run) -> Self | None:
        """Count; None where there are none."""
        return cls.count(run.record.requests)

    @classmethod
    def count(cls, requests: Columns) -> Self | None:
        """Count the conversations of `requests`."""
        if "conversation" not in requests:
            return None
        last = final(requests)
        order = np.lexsort((requests["turn"][last], requests["conversation"][last]))
        number, turn, turns, outcome = (
            requests[name][last][order] for name in ("conversation", "turn", "turns", "outcome")
        )
        ends = np.append(np.diff(number) != 0, True)
        done = outcome[ends] == Outcome.FINISHED
        complete = done & (turn[ends] + 1 == turns[ends])
        broken = ~done & (outcome[ends] != Outcome.UNFINISHED)
        return cls(
            total=int(ends.sum()),
            complete=int(complete.sum()),
            broken=int(broken.sum()),
            unfinished=int((~complete & ~broken).sum()),
            turns_sent=len(turn),
            turns_never_sent=int((turns[ends] - turn[ends] - 1)[broken].sum()),
        )
