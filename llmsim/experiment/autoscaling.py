"""Instances that come and go: the rules of a scenario, and what a run's instances cost."""

from __future__ import annotations

from typing import Any

from llmsim.cluster.autoscaling import Autoscaling
from llmsim.experiment.assemble import blaming
from llmsim.latency import hardware
from llmsim.metrics.paid_time import changes, instance_seconds, instances_at
from llmsim.metrics.summary import number
from llmsim.record import InstanceState, Record
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
    return own * scenario.cluster.tensor_parallel_size


def autoscaling_score(record: Record, scenario: Scenario, output_tokens: int) -> dict[str, Any]:
    """Count instances, their time and their cost, all of the run; `output_tokens` are all that users got.

    Instances are paid from the decision to start them to their leaving, those at the end up to the end of the run.
    """
    states, end_s = record.instance_states, record.end_s
    paid_s, price = instance_seconds(states), usd_per_instance_hour(scenario)
    started, told_to_go = changes(states)
    usd = paid_s * price / 3600
    return {
        "instance_s": paid_s,
        **{f"{state.name.lower()}_s": instance_seconds(states, (state,)) for state in list(InstanceState)[1:]},
        "mean_instances": number(paid_s / end_s),
        "peak_instances": int(instances_at(states, states["start_s"]).max()),
        "started": started,
        "told_to_go": told_to_go,
        "usd_per_instance_hour": price,
        "usd": usd,
        "usd_with_max_instances": scenario.most_instances * end_s * price / 3600,
        "usd_per_million_output_tokens": number(usd / output_tokens * 1e6) if output_tokens else None,
    }
