"""Conversations whose stages have SLOs of their own: agents, whose calls of tools stand before their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import numpy as np

from llmsim.metrics.kpi import LESS, MORE, Kpi, Section
from llmsim.metrics.ranges import Bools
from llmsim.metrics.summary import Summary, number, summary
from llmsim.record import Floats, Ints
from llmsim.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class Agents(Section):
    """Conversations of the whole run; the stages of `classes` have their scores there."""

    key: ClassVar[str] = "agents"

    #: share of conversations of which every request was served, each within the SLO of its stage
    attainment: Annotated[float | None, Kpi("agents with all stages in time", "share", "share", MORE, shown_in="%")]
    #: from the first arrival to the last token, of those that were served whole
    e2e_s: Annotated[Summary, Kpi("E2E of an agent", "s", "time", LESS)]

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether classes are stages."""
        return any(each.stage is not None for each in scenario.workload.classes)

    @classmethod
    def of(
        cls, conversation: Ints, turns: Ints, arrival_s: Floats, end_s: Floats, served: Bools, in_time: Bools
    ) -> Self:
        """Measure, from columns of the N requests that were sent; `turns`: how many their conversations should have."""
        _, number_of, sent = np.unique(conversation, return_inverse=True, return_counts=True)
        planned = np.zeros(len(sent), np.int64)
        planned[number_of] = turns
        whole = (sent == planned) & (np.bincount(number_of, served) == planned)
        good = whole & (np.bincount(number_of, in_time) == planned)
        begin_s, last_s = np.full(len(sent), np.inf), np.full(len(sent), -np.inf)
        np.minimum.at(begin_s, number_of, arrival_s)
        np.maximum.at(last_s, number_of, end_s)
        return cls(number(float(good.mean())) if len(good) else None, summary((last_s - begin_s)[whole]))
