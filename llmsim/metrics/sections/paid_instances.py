"""Instances that come and go: their time and their cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from llmsim.metrics.kpi import LESS, Kpi, Section
from llmsim.metrics.paid_time import changes, instance_seconds, instances_at
from llmsim.metrics.summary import number
from llmsim.record import InstanceState, Record
from llmsim.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class PaidInstances(Section):
    """Instances of an autoscaled run, all of it, paid from the decision to start them until they leave."""

    key: ClassVar[str] = "autoscaling"
    compared: ClassVar[bool] = False

    instance_s: Annotated[float, Kpi("instance time", "s", "time", LESS)]
    starting_s: Annotated[float, Kpi("instance time starting", "s", "time", LESS)]
    ready_s: Annotated[float, Kpi("instance time ready", "s", "time")]
    draining_s: Annotated[float, Kpi("instance time draining", "s", "time", LESS)]
    mean_instances: Annotated[float | None, Kpi("mean instances", "", "count", LESS)]
    peak_instances: Annotated[int, Kpi("peak instances", "", "count", LESS)]
    started: Annotated[int, Kpi("instances started")]
    told_to_go: Annotated[int, Kpi("instances told to go")]
    usd_per_instance_hour: Annotated[float, Kpi("price of an instance", "USD/h", "basis")]
    usd: Annotated[float, Kpi("cost", "USD", "cost", LESS)]
    usd_with_max_instances: Annotated[float, Kpi("cost with all instances all the time", "USD", "cost")]
    usd_per_million_output_tokens: Annotated[float | None, Kpi("cost per million output tokens", "USD", "cost", LESS)]

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether instances come and go."""
        return scenario.autoscaling is not None

    @classmethod
    def of(cls, record: Record, output_tokens: int, *, usd_per_instance_hour: float, max_instances: int) -> Self:
        """Count instances, their time and their cost; `output_tokens` are all that users got."""
        states, end_s = record.instance_states, record.end_s
        paid_s, price = instance_seconds(states), usd_per_instance_hour
        started, told_to_go = changes(states)
        usd = paid_s * price / 3600
        return cls(
            paid_s,
            **{f"{state.name.lower()}_s": instance_seconds(states, (state,)) for state in list(InstanceState)[1:]},
            mean_instances=number(paid_s / end_s) if end_s else None,
            peak_instances=int(instances_at(states, states["start_s"]).max(initial=0)),
            started=started,
            told_to_go=told_to_go,
            usd_per_instance_hour=price,
            usd=usd,
            usd_with_max_instances=max_instances * end_s * price / 3600,
            usd_per_million_output_tokens=number(usd / output_tokens * 1e6) if output_tokens else None,
        )
