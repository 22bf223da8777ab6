"""What metrics are computed from: requests with their token times, and a run's record."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from llmsim.metrics import ranges
from llmsim.metrics.ranges import Bools
from llmsim.metrics.smooth_goodput import User
from llmsim.metrics.window import Span
from llmsim.record import Floats, Record, Timelines
from llmsim.scenario import Scenario
from llmsim.slo import Slo


@dataclass(frozen=True, eq=False)
class Requests:
    """N requests, and by which window, SLO and reader they are judged."""

    timelines: Timelines  #: of all N
    span: Span  #: the window: which of them count, and over what time
    slo: Slo | None
    user: User | None
    all_scheduled_s: Floats | None  #: (N,) when each was first scheduled, NaN: never; None: not known
    end_s: float  #: until when readers of dropped requests wait

    @cached_property
    def counted(self) -> Timelines:
        """The requests that count."""
        return ranges.select(self.timelines, self.span.counted)

    @property
    def first_scheduled_s(self) -> Floats | None:
        """When each of the requests that count was first scheduled."""
        return None if self.all_scheduled_s is None else self.all_scheduled_s[self.span.counted]


@dataclass(frozen=True, eq=False)
class OfClass:
    """A class of requests, and by which SLO and reader it is judged."""

    mine: Bools  #: (N,) which of all requests it has
    slo: Slo | None
    user: User | None


@dataclass(frozen=True, eq=False)
class Run:
    """A simulated run."""

    record: Record
    scenario: Scenario

    @property
    def gpus(self) -> list[int]:
        """How many GPUs each instance has."""
        return [cluster.gpus_per_instance for _, cluster in self.scenario.pools for _ in range(cluster.instances)]
