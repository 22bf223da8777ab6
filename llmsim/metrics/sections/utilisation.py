"""How much of what instances have is in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from llmsim.metrics.kpi import Kpi, Section
from llmsim.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class Utilisation(Section):
    """Shares, as means over all instances and the time from the first to the last arrival, in which idle time is 0.

    An instance that decodes one sequence is busy all the time: what it has left is told by the other shares. A cluster
    of instances that come and go has none.
    """

    key: ClassVar[str] = "utilisation"
    compared: ClassVar[bool] = False

    #: of the time, in which any step runs
    busy: Annotated[float, Kpi("time in steps", "share", "share", shown_in="%")]
    #: of the requests that schedulers let run at once, by those that decode; None: no such limit
    seats: Annotated[float | None, Kpi("seats that decode", "share", "share", shown_in="%")]
    #: of KV memory, by the tokens that decoding sequences attend to, more than all where prefixes are shared; this and
    #: what follows is None where requests speculate, whose steps compute and read more than one token of each
    kv_tokens: Annotated[float | None, Kpi("KV memory that decodes read", "share", "share", shown_in="%")]
    #: of schedulers' token budgets, by the tokens that steps compute; None also without a budget
    batch_tokens: Annotated[float | None, Kpi("token budget in use", "share", "share", shown_in="%")]
    #: of the GPUs' memory bandwidth, by weights and KV read
    bandwidth: Annotated[float | None, Kpi("memory bandwidth in use", "share", "share", shown_in="%")]
    #: of the GPUs' dense bf16 FLOP/s, attention of prompts left out
    flop: Annotated[float | None, Kpi("FLOP/s in use", "share", "share", shown_in="%")]

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether instances are there all the time."""
        return scenario.autoscaling is None
