"""Why requests were not served, in the words of the policy or the engine that decided it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from llmsim.metrics.kpi import OfRun, Part
from llmsim.metrics.scored import Run
from llmsim.record import Record
from llmsim.request import Outcome

MOST_REASONS = 3  #: that are told one by one


@dataclass(frozen=True, slots=True, eq=False)
class Reason(Part):
    """A reason, and how many requests it has."""

    reason: str
    requests: int


@dataclass(frozen=True, slots=True, eq=False)
class Reasons(OfRun):
    """The most frequent reasons of requests that did not finish, and all others as one."""

    compared: ClassVar[bool] = False

    reasons: Sequence[Reason]

    @classmethod
    def of(cls, run: Run) -> Self | None:
        """Count; None where no request has a reason."""
        return cls.count(run.record)

    @classmethod
    def count(cls, record: Record) -> Self | None:
        """Count the reasons of a record."""
        requests = record.requests
        given = requests["reason"][(requests["outcome"] != Outcome.FINISHED)]
        counts = np.bincount(given[given >= 0], minlength=len(record.reasons))
        order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i] and record.reasons[i]]
        told = [Reason(record.reasons[i], int(counts[i])) for i in order[:MOST_REASONS]]
        others = int(sum(counts[i] for i in order[MOST_REASONS:]))
        told += [Reason(f"{len(order) - MOST_REASONS} other reasons", others)] if others else []
        return cls(told) if told else None
