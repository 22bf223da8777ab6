"""How service is shared out between tenants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, ClassVar, Self

import numpy as np

from llmsim.metrics.kpi import LESS, MORE, Kpi, OfRun
from llmsim.metrics.scored import Run
from llmsim.metrics.service import jain_while_all_wait, largest_gap_tokens, services
from llmsim.metrics.summary import number
from llmsim.scenario import Scenario, tenants_of


@dataclass(frozen=True, slots=True, eq=False)
class Fairness(OfRun):
    """Service of each tenant (prompt + 2 x output tokens), and how evenly it is shared while several wait."""

    key: ClassVar[str] = "fairness"

    service_tokens: Annotated[Mapping[str, float], Kpi("service", "tokens", "count")]
    largest_gap_tokens: Annotated[float, Kpi("largest gap of service", "tokens", "count", LESS)]
    jain_index: Annotated[float | None, Kpi("Jain's index of service", "", "ratio", MORE)]

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether there are several tenants."""
        return len(tenants_of(scenario)) > 1

    @classmethod
    def of(cls, run: Run) -> Self:
        """Measure; what the scheduler's `weights` say of tenants counts in the index, not in the gap."""
        names = tenants_of(run.scenario)
        numbers = np.array([names.index(each.tenant or each.name) for each in run.scenario.workload.classes])
        found = services(run.record, numbers[run.record.requests["class"]], len(names))
        weights = run.scenario.scheduler.options.get("weights", {})
        return cls(
            {
                name: float(each.tokens[-1]) if len(each.tokens) else 0.0
                for name, each in zip(names, found, strict=True)
            },
            max(largest_gap_tokens(one, two) for one, two in combinations(found, 2)),
            number(jain_while_all_wait(found, np.array([float(weights.get(name, 1.0)) for name in names]))),
        )
