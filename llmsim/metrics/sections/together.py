"""All classes of requests together, each by the SLO and the reader of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import numpy as np

from llmsim.metrics import ranges
from llmsim.metrics.kpi import MORE, Kpi, Section
from llmsim.metrics.scored import OfClass
from llmsim.metrics.slo import meets
from llmsim.metrics.smooth_goodput import benefit_tokens
from llmsim.metrics.summary import number
from llmsim.metrics.window import Span, per_second
from llmsim.record import Timelines
from llmsim.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class Together(Section):
    """Of all requests that count, by what their class asks for: no class is judged by the SLO of another."""

    key: ClassVar[str] = "together"

    attainment: Annotated[
        float | None, Kpi("attainment of own SLOs", "share", "share", MORE, shown_in="%", short="own SLOs")
    ]
    goodput_tokens_per_s: Annotated[float | None, Kpi("goodput by own SLOs", "tokens/s", "rate", MORE)]
    goodput_requests_per_s: Annotated[float | None, Kpi("goodput by own SLOs, in requests", "requests/s", "rate", MORE)]
    smooth_goodput_tokens_per_s: Annotated[float | None, Kpi("smooth goodput of own readers", "tokens/s", "rate", MORE)]

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether requests have classes."""
        return bool(scenario.workload.classes)

    @classmethod
    def of(cls, timelines: Timelines, classes: Mapping[str, OfClass], span: Span, end_s: float) -> Self:
        """Measure N requests in a window, each of them in one class; readers wait until the end of the run."""
        n_tokens = ranges.n_tokens(timelines)
        good, benefit = np.zeros(len(timelines), dtype=np.bool_), np.zeros(len(timelines))
        judged = all(each.slo is not None for each in classes.values())
        read = all(each.user is not None for each in classes.values())
        for each in classes.values():
            own = ranges.select(timelines, each.mine)
            if each.slo is not None:
                good[each.mine] = meets(own, each.slo)
            if each.user is not None:
                benefit[each.mine] = benefit_tokens(own, each.user, end_s=end_s)
        good, counted = good & span.counted, int(span.counted.sum())
        return cls(
            number(good.sum() / counted) if judged and counted else None,
            number(per_second(float(n_tokens[good].sum()), span)) if judged else None,
            number(per_second(float(good.sum()), span)) if judged else None,
            number(per_second(float(benefit[span.counted].sum()), span)) if read else None,
        )
