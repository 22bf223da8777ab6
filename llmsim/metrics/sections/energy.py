"""What the GPUs of a run draw."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, ClassVar

from llmsim.latency.hardware import load_gpu
from llmsim.metrics.kpi import LESS, Kpi, Section
from llmsim.scenario import Scenario

MEASURED = "fitted to measured runs of the GPU"
ASSUMED = "assumed: the GPU's limit, in the H100's proportions"


@dataclass(frozen=True, slots=True, eq=False)
class Energy(Section):
    """Energy of the GPUs over the whole run, idle time included; hosts, networks and cooling are not."""

    key: ClassVar[str] = "energy"

    kwh: Annotated[float, Kpi("energy of the GPUs", "kWh", "cost", LESS)]
    mean_w_per_gpu: Annotated[float, Kpi("mean power of a GPU", "W", "count", LESS)]
    j_per_output_token: Annotated[float | None, Kpi("energy per output token", "J", "cost", LESS)]
    usd: Annotated[float | None, Kpi("cost of the energy", "USD", "cost", LESS)] = None
    #: what the power rests on
    basis: str = MEASURED

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether the power of every GPU is known; instances that come and go, and drafters, are not counted.

        Power that is assumed counts where the scenario has a table [energy].
        """
        if scenario.autoscaling is not None or scenario.speculates:
            return False
        powers = [load_gpu(cluster.gpu).power for _, cluster in scenario.pools]
        return all(power is not None and (not power.assumed or scenario.energy is not None) for power in powers)

    @classmethod
    def lacks(cls, scenario: Scenario) -> Collection[str]:
        """The cost, where no price is given."""
        priced = scenario.energy is not None and scenario.energy.usd_per_kwh is not None
        return () if priced else ("usd",)
