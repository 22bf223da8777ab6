"""Which engine's rules the instances of a run follow, in words."""

from __future__ import annotations

from collections.abc import Iterable

from llmsim.cluster import InstanceSpec
from llmsim.latency.host import Host
from llmsim.latency.pipeline import Pipeline
from llmsim.scenario import Scenario
from llmsim.scenario.engines import BY_ENGINE, ENGINES


def engine_rules(scenario: Scenario, instances: Iterable[InstanceSpec]) -> str | None:
    """Say whose rules and defaults these are, and what they come to on these instances; None: no engine was named."""
    engine = ENGINES.get(scenario.cluster.engine or "")
    if engine is None:
        return None
    said = [engine.rules(), *map(_in_force, instances)]
    if BY_ENGINE in (scenario.host.profile, *(pool.host.profile for pool in scenario.pool)):
        said.append(f"host times of {engine.host}")
    return "; ".join(dict.fromkeys(said))


def _in_force(spec: InstanceSpec) -> str:
    scheduler = spec.scheduler
    budget, seats = getattr(scheduler, "max_num_batched_tokens", None), scheduler.most_running
    said = [
        f"pool {spec.pool}" if spec.pool != "all" else "",
        f"{budget} tokens a step" if budget else "",
        f"{seats} seats" if seats else "",
        "prefix caching" if spec.prefix_caching else "no prefix caching",
        _steps_under_way(spec),
    ]
    return ", ".join(filter(None, said))


def _steps_under_way(spec: InstanceSpec) -> str:
    times = spec.latency.gpu if isinstance(spec.latency, Host) else spec.latency
    if isinstance(times, Pipeline):
        return f"{times.stages} batches under way"
    return "asynchronous" if spec.async_scheduling else "synchronous"
