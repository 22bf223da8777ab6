"""By which choices a score was computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from llmsim.metrics.kpi import Part, Section
from llmsim.metrics.scored import Requests
from llmsim.metrics.summary import number
from llmsim.metrics.window import Window


@dataclass(frozen=True, slots=True, eq=False)
class ChosenWindow(Part):
    """The window asked for and the one that it came to, in seconds, and how many requests arrive outside."""

    asked: str
    kind: str
    start_s: float
    end_s: float | None  #: None: not known
    duration_s: float | None
    requests_outside: int


@dataclass(frozen=True, slots=True, eq=False)
class ChosenRouter(Part):
    """The router, and how old its reports are: "oracle" where it sees the present state, which no deployment has."""

    name: str
    options: Mapping[str, Any]
    reports: str | None  #: "oracle", "periodic", or None: neither it nor that of decode instances looks at any
    report_age_s: float | None
    count_own_sends: bool | None  #: since the last report
    caches: str | None  #: "oracle", or None: they look at no prefix caches


@dataclass(frozen=True, slots=True, eq=False)
class Choices(Section):
    """What a score rests on; settings, no KPIs."""

    key: ClassVar[str] = "choices"

    window: ChosenWindow
    slo: Mapping[str, float | None] | None
    user: Mapping[str, Any] | None
    run_end_s: float  #: until when readers of dropped requests are charged
    percentiles: str = "NumPy linear; Kaplan-Meier where censored > 0 (ttft_s, e2e_s, queueing_s)"
    delivery: Mapping[str, Any] | None = None
    router: ChosenRouter | None = None
    measured_from: str | None = None
    engine: str | None = None  #: whose rules the instances follow, and what of them is left out
    step_times: str | None = None  #: what simulated steps rest on
    times: str | None = None  #: where token times come from

    @classmethod
    def of(cls, requests: Requests, window: Window) -> Self:
        """Write down the choices."""
        span, slo, user = requests.span, requests.slo, requests.user
        outside = int((~span.counted).sum())
        return cls(
            ChosenWindow(window.kind, span.kind, span.start_s, number(span.end_s), number(span.duration_s), outside),
            None if slo is None else asdict(slo),
            None if user is None else asdict(user) | {"seconds_per_token": user.seconds_per_token},
            requests.end_s,
        )
