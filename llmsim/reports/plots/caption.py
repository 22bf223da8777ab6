"""What stands below every picture of a simulation: scenario, GPUs, model, load, seed, version."""

from __future__ import annotations

from collections.abc import Collection

from llmsim import __version__
from llmsim.scenario import Scenario, ServeGenWorkload, SyntheticWorkload, TraceWorkload


def caption(scenario: Scenario, *, seeds: int = 1, varied: Collection[str] = ()) -> str:
    """One line that tells a picture apart from any other; without what is on its axes.

    `seeds` are counted from the scenario's own, `varied` are keys that have no one value.
    """
    first = scenario.seed
    parts = {
        "cluster.gpu": _gpus(scenario, numbers="cluster.instances" not in varied),
        "cluster.model": " and ".join(dict.fromkeys(cluster.model for _, cluster in scenario.pools)),
        "workload.": load(scenario),
        "seed": f"seed {first}" if seeds == 1 else f"seeds {first} to {first + seeds - 1}",
    }
    told = [text for key, text in parts.items() if not any(one.startswith(key) for one in varied)]
    return " · ".join([scenario.name, *told, f"llmsim {__version__}"])


def load(scenario: Scenario) -> str:
    """How requests come, in a few words."""
    workload = scenario.workload
    if isinstance(workload, TraceWorkload):
        return f"trace {workload.trace.rpartition('/')[2]}{_scale(workload.rate_scale)}"
    if isinstance(workload, ServeGenWorkload):
        return f"ServeGen {workload.servegen.rpartition('/')[2]}{_scale(workload.rate_scale)}"
    assert isinstance(workload, SyntheticWorkload)
    arrivals = workload.arrivals
    if arrivals.concurrency is not None:
        return f"{arrivals.concurrency} clients in a loop"
    rate_per_s = arrivals.options.get("rate_per_s")
    return f"{rate_per_s:g} requests/s" if isinstance(rate_per_s, int | float) else f"{arrivals.process} arrivals"


def _scale(rate_scale: float) -> str:
    return "" if rate_scale == 1 else f" x {rate_scale:g}"


def _gpus(scenario: Scenario, *, numbers: bool) -> str:
    """The GPUs of each pool, with its name where there are several."""
    told = []
    for pool, cluster in scenario.pools:
        size = f" {cluster.parallelism}" if cluster.parallelism else ""
        number = f"{cluster.instances} x " if numbers else ""
        told.append(f"{f'{pool.name} ' if scenario.pool else ''}{number}{cluster.gpu}{size}")
    return " + ".join(told)


def instance_names(scenario: Scenario) -> list[str]:
    """What each instance is called: its number, and its pool where there are several; numbers as in tables."""
    pools = [pool.name for pool, cluster in scenario.pools for _ in range(cluster.instances)]
    return [f"{pool} {number}" if scenario.pool else f"instance {number}" for number, pool in enumerate(pools)]
