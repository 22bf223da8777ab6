"""How far from the fast path each scenario is that llmsim ships."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llmsim.errors import InputError
from llmsim.experiment import assemble
from llmsim.scenario import Scenario, WindowTable, load_scenario, scenario_names
from llmsim.scenario.workload import TraceWorkload
from llmsim.studies.bench.speed import Measurement
from llmsim.studies.bench.suites import Watch, speed
from llmsim.studies.bench.workloads import fixed

REQUESTS = 2_000
FAST_PATH = "fixed"


@dataclass(frozen=True, slots=True)
class Shipped:
    """A shipped scenario beside the workload of the fast path, run with as many requests at most."""

    run: Measurement
    lazy: bool  #: whether its instances make no events of their own (engine/instance.py)
    share: float  #: requests per SimPy timeout, over those of the fast path


def measure_shipped(
    names: Iterable[str] | None = None, requests: int = REQUESTS, *, watch: Watch
) -> tuple[dict[str, Shipped], dict[str, str]]:
    """Measure shipped scenarios (all of them) once each, and say of each one left out why."""
    scenarios, skipped = _loaded(scenario_names() if names is None else names, requests)
    lazy = {name: assemble(described).lazy for name, described in scenarios.items()}
    runs = speed({FAST_PATH: fixed(requests), **scenarios}, repeat=1, watch=watch)
    fastest = runs.pop(FAST_PATH)
    found = {
        name: Shipped(run, lazy[name], fastest.timeouts_per_request / run.timeouts_per_request)
        for name, run in runs.items()
    }
    return found, skipped


def _loaded(names: Iterable[str], requests: int) -> tuple[Mapping[str, Scenario], dict[str, str]]:
    scenarios, skipped = {}, {}
    for name in names:
        try:
            described = load_scenario(name)
            key = "limit" if isinstance(described.workload, TraceWorkload) else "requests"
            own = getattr(described.workload, key)
            most = requests if own is None else min(own, requests)
            some = load_scenario(name, [f"workload.{key}={most}"])
            scenarios[name] = some.model_copy(update={"window": WindowTable()})  # fewer may not reach into their own
        except InputError as error:
            skipped[name] = str(error).rpartition(": ")[2] if "workload.trace" in str(error) else str(error)
    return scenarios, skipped
