"""The share of requests within the SLO, and goodput."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from llmsim.metrics import ranges
from llmsim.metrics import slo as slos
from llmsim.metrics.kpi import MORE, Kpi, OfRequests
from llmsim.metrics.scored import Requests
from llmsim.metrics.summary import number
from llmsim.metrics.window import per_second
from llmsim.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class Attainment(OfRequests):
    """Of all requests that count, those that finished within the bounds of the SLO; see `llmsim.metrics.slo`."""

    key: ClassVar[str] = "slo"
    always: ClassVar[bool] = True

    attainment: Annotated[float | None, Kpi("SLO attainment", "share", "share", MORE, shown_in="%", short="SLO")]
    attainment_by_bound: Annotated[
        Mapping[str, float | None], Kpi("attainment of", "share", "share", MORE, shown_in="%", each=slos.Slo.__slots__)
    ]
    goodput_tokens_per_s: Annotated[float | None, Kpi("goodput", "tokens/s", "rate", MORE)]
    goodput_requests_per_s: Annotated[float | None, Kpi("goodput in requests", "requests/s", "rate", MORE)]
    bounds: Mapping[str, float | None] | None = None  #: the SLO, of a class of requests

    @classmethod
    def lacks(cls, scenario: Scenario) -> Collection[str]:
        """Attainment of bounds that the SLO does not have."""
        return [f"attainment_by_bound.{bound}" for bound, value in scenario.slo if value is None]

    @classmethod
    def of(cls, requests: Requests) -> Self | None:
        """Measure; None without an SLO."""
        if requests.slo is None:
            return None
        timelines, span = requests.counted, requests.span
        each = slos.meets_each(timelines, requests.slo)
        good = slos.joint(each)
        return cls(
            number(good.mean()) if len(good) else None,
            {name: number(kept.mean()) if len(kept) else None for name, kept in each.items()},
            number(per_second(float(ranges.n_tokens(timelines)[good].sum()), span)),
            number(per_second(float(good.sum()), span)),
        )
