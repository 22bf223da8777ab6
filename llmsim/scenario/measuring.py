"""The tables of a scenario that say how a run is scored: SLO, reader and window."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from llmsim.quantities import NotNegative, Positive
from llmsim.scenario.table import Table
from llmsim.slo import contradiction


class SloTable(Table):
    """Bounds that a request must meet, all of those given, to count as served well."""

    ttft_s: Positive | None = None
    tbt_s: Positive | None = None
    tpot_s: Positive | None = None
    e2e_s: Positive | None = None
    #: token i is due at ttft_s + (i - 1) of these after the arrival; without ttft_s at i of them
    token_deadline_s: Positive | None = None

    @model_validator(mode="after")
    def _one_at_least(self) -> SloTable:
        if all(bound is None for bound in self.__dict__.values()):
            raise ValueError(f"no bound; give at least one of {', '.join(type(self).model_fields)}")
        if (why := contradiction(self.ttft_s, self.e2e_s)) is not None:
            raise ValueError(why)
        return self


class EnergyTable(Table):
    """Asks for the GPUs' energy also where their power is assumed from its limit, and for what it costs."""

    #: price of a kilowatt-hour; left out: no cost
    usd_per_kwh: NotNegative | None = None


class UserTable(Table):
    """The reader behind smooth goodput (arXiv 2410.14257, eqs. 9 to 11), and the paper's open choices."""

    tokens_per_s: Positive = 5.0
    alpha: NotNegative = 2.5
    anchor: Literal["arrival", "first_token"] = "arrival"
    #: response delay that the reader tolerates
    offset_s: NotNegative = 0.0
    #: 1: the first token is due one reading interval after the anchor; 0: at the anchor
    index_base: Literal[0, 1] = 1
    penalty: Literal["linear", "tokens", "quadratic", "clipped", "saturating", "indicator"] = "linear"
    #: how long a reader whose request was dropped is taken to wait
    charge: Literal["until_drop", "until_patience", "until_run_end"] = "until_run_end"
    patience_s: Positive | None = None


class WindowTable(Table):
    """Which requests count, and over what time rates divide: arrivals between two times, or everything."""

    kind: Literal["arrivals", "makespan"] = "arrivals"
    start_s: NotNegative | None = None
    end_s: Positive | None = None
