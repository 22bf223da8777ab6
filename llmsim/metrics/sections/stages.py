"""Where requests of a disaggregated cluster spend their time: five stages and a transfer (DistServe, OSDI '24, 4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Self

import numpy as np

from llmsim.metrics.kpi import LESS, MORE, Kpi, OfRun
from llmsim.metrics.scored import Run
from llmsim.metrics.summary import Summary, summary
from llmsim.request import Outcome
from llmsim.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class Stages(OfRun):
    """Summaries of each stage, in seconds, and what crossed the network.

    Over finished requests that joined a decode instance, by their last handover; the six add up to the time from being
    queued to the end. Handovers that did not join fell back, were computed again or ended on the way.
    """

    key: ClassVar[str] = "stages"
    compared: ClassVar[bool] = False

    #: until the first chunk
    prefill_queue_s: Annotated[Summary, Kpi("prefill queue", "s", "time", LESS)]
    #: until the first token
    prefill_s: Annotated[Summary, Kpi("prefill", "s", "time", LESS)]
    #: until the decode side has room
    memory_wait_s: Annotated[Summary, Kpi("wait for memory and link", "s", "time", LESS)]
    #: of keys and values
    transfer_s: Annotated[Summary, Kpi("transfer", "s", "time", LESS)]
    #: until the step boundary at which they join
    decode_queue_s: Annotated[Summary, Kpi("decode queue", "s", "time", LESS)]
    #: until the end
    decode_s: Annotated[Summary, Kpi("decode", "s", "time", LESS)]
    handed_over: Annotated[int, Kpi("handovers", kind="basis")]
    joined: Annotated[int, Kpi("handovers decoded there", better=MORE)]
    bytes: Annotated[int, Kpi("KV cache sent", "B", "count")]

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether prefill and decode are apart."""
        return scenario.kv_transfer is not None

    @classmethod
    def of(cls, run: Run) -> Self:
        """Summarise."""
        moved, requests = run.record.transfers, run.record.requests
        joined = np.flatnonzero(~np.isnan(moved["joined_s"]))
        finished = requests["outcome"][moved["request"][joined]] == Outcome.FINISHED
        last = joined[finished]
        request = moved["request"][last]
        bounds = (
            requests["queued_s"][request],
            requests["first_scheduled_s"][request],
            moved["offered_s"][last],
            moved["start_s"][last],
            moved["end_s"][last],
            moved["joined_s"][last],
            requests["end_s"][request],
        )
        values: list[Any] = [summary(after - before) for before, after in pairwise(bounds)]
        values += [len(moved["request"]), len(joined), int(moved["bytes"].sum())]
        return cls(*values)
