"""Instances that come and go with the load."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from llmsim.quantities import Every, NotNegative, Positive
from llmsim.scenario.cluster import Instances
from llmsim.scenario.table import Table


class AutoscalingTable(Table):
    """The rule of Kubernetes' Horizontal Pod Autoscaler; cluster.instances are ready at the start."""

    #: per ready instance: requests sent to it and not ended, those in its queue, or the share of its KV blocks in use
    metric: Literal["outstanding", "waiting", "kv_utilisation"] = "outstanding"
    #: what the metric shall be on each instance
    target: Positive
    min_instances: Instances = 1
    #: those that drain included
    max_instances: Instances
    #: from one look at the metric to the next (HPA's default)
    interval_s: Every = 15.0
    #: from the decision to an instance's first request: a machine, the image, weights, CUDA graphs
    cold_start_s: NotNegative
    #: no change while metric / target is so near to 1 (HPA's default)
    tolerance: NotNegative = 0.1
    #: up to the least that was recommended within so long (HPA's default)
    scale_up_stabilization_window_s: NotNegative = 0.0
    #: down to the most that was recommended within so long (HPA's default)
    scale_down_stabilization_window_s: NotNegative = 300.0
    #: of one GPU; left out: that of its hardware profile
    price_usd_per_hour: NotNegative | None = None

    @model_validator(mode="after")
    def _target_can_be(self) -> AutoscalingTable:
        if self.metric == "kv_utilisation" and self.target > 1:
            raise ValueError(f"target = {self.target:g} is a share of the KV blocks; expected at most 1")
        if self.min_instances > self.max_instances:
            raise ValueError(f"min_instances = {self.min_instances} is above max_instances = {self.max_instances}")
        return self
