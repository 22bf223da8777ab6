"""Instances that come and go: the rules of a scenario, and what a run's instances cost."""

from __future__ import annotations

from llmsim.cluster.autoscaling import Autoscaling
from llmsim.experiment.parts import blaming
from llmsim.latency import hardware
from llmsim.metrics.sections.paid_instances import PaidInstances
from llmsim.record import Record
from llmsim.scenario import Scenario


def make_autoscaling(scenario: Scenario) -> Autoscaling | None:
    """When instances come and go; None where they are always there."""
    chosen = scenario.autoscaling
    if chosen is None:
        return None
    values = chosen.model_dump(exclude={"price_usd_per_hour"})
    return Autoscaling(first_instances=scenario.cluster.instances, **values)


def usd_per_instance_hour(scenario: Scenario) -> float:
    """List price of an instance's GPUs, or what the scenario says instead."""
    own = None if scenario.autoscaling is None else scenario.autoscaling.price_usd_per_hour
    if own is None:
        with blaming(scenario, "cluster", "gpu"):
            own = hardware.load_gpu(scenario.cluster.gpu).price_usd_per_hour
    return own * scenario.cluster.gpus_per_instance


def autoscaling_score(record: Record, scenario: Scenario, output_tokens: int) -> PaidInstances:
    """Count instances, their time and their cost; `output_tokens` are all that users got."""
    price = usd_per_instance_hour(scenario)
    return PaidInstances.of(record, output_tokens, usd_per_instance_hour=price, max_instances=scenario.most_instances)
