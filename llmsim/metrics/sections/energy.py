"""What the GPUs of a run draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from llmsim.latency.hardware import load_gpu
from llmsim.metrics.kpi import LESS, Kpi, Section
from llmsim.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class Energy(Section):
    """Energy of the GPUs over the whole run, idle time included; hosts, networks and cooling are not."""

    key: ClassVar[str] = "energy"

    kwh: Annotated[float, Kpi("energy of the GPUs", "kWh", "cost", LESS)]
    mean_w_per_gpu: Annotated[float, Kpi("mean power of a GPU", "W", "count", LESS)]
    j_per_output_token: Annotated[float | None, Kpi("energy per output token", "J", "cost", LESS)]

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether the power of every GPU is known; instances that come and go, and drafters, are not counted."""
        if scenario.autoscaling is not None or scenario.speculates:
            return False
        return all(load_gpu(cluster.gpu).power for _, cluster in scenario.pools)
