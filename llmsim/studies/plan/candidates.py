"""One way to serve the load: GPUs, how many of them an instance has, pools, a scheduler, and other settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmsim.cluster import InstanceSpec
from llmsim.experiment.engine_rules import engine_rules
from llmsim.experiment.instances import make_instances
from llmsim.experiment.own_files import NO_FILES, OwnFiles
from llmsim.latency.hardware import load_gpu
from llmsim.scenario import Scenario
from llmsim.studies.plan.loads import ONE_A_SECOND, Load, with_load

#: letters of pools by their role; mixed ones have none
ROLE_LETTERS = {"prefill": "P", "decode": "D", "mixed": ""}


@dataclass(frozen=True)
class Candidate:
    """A scenario whose size or load is open, and what a GPU of it costs.

    Of pools, the scenario has one unit, such as one instance for prefill and three for decode; sizes count units.
    """

    scenario: Scenario
    price_usd_per_hour: float  #: of one GPU of [cluster]
    files: OwnFiles = NO_FILES
    load: Load = ONE_A_SECOND
    varied: Mapping[str, Any] = field(default_factory=dict)  #: keys of plan.vary and the values that this has
    pool_prices: Mapping[str, float] = field(default_factory=dict)  #: GPU -> price of one, where pools have their own

    @property
    def gpus_per_instance(self) -> int:
        """GPUs of one instance, or unit of pools."""
        return sum(self._counts().values())

    def gpus(self, instances: int) -> dict[str, int]:
        """GPUs of so many instances, or units of pools, by kind."""
        return {load_gpu(gpu).name: instances * count for gpu, count in self._counts().items()}

    def _counts(self) -> dict[str, int]:
        """GPUs of one instance, or unit of pools, by kind."""
        cluster = self.scenario.cluster
        if not self.scenario.pool:
            return {cluster.gpu: cluster.gpus_per_instance}
        counts: dict[str, int] = {}
        for _, of_pool in self.scenario.pools:
            counts[of_pool.gpu] = counts.get(of_pool.gpu, 0) + of_pool.instances * of_pool.gpus_per_instance
        return counts

    @property
    def gpu(self) -> str:
        """Name of its GPU, also where the scenario has the path of a file."""
        return load_gpu(self.scenario.cluster.gpu).name

    @property
    def hardware(self) -> str:
        """The GPUs of an instance, or unit of pools, in words."""
        if not self.scenario.pool:
            return _gpus(self.scenario.cluster)
        pools = [(f"{cluster.instances}{ROLE_LETTERS[pool.role]}", cluster) for pool, cluster in self.scenario.pools]
        kinds = {_gpus(cluster) for _, cluster in pools}
        if len(kinds) == 1:
            return f"({' + '.join(count for count, _ in pools)}) {kinds.pop()}"
        return f"({' + '.join(f'{count} {_gpus(cluster)}' for count, cluster in pools)})"

    @property
    def scheduler(self) -> str:
        """The scheduler and the options given, and what else is varied, in words."""
        options = ", ".join(f"{key} {value}" for key, value in self.scenario.scheduler.options.items())
        others = {key: value for key, value in self.varied.items() if not key.startswith("scheduler.")}
        beside = "".join(f", {key} {value}" for key, value in others.items())
        return f"{self.scenario.scheduler.name}{f' ({options})' if options else ''}{beside}"

    @property
    def step_times(self) -> str:
        """What its step times rest on, in words."""
        bases = dict.fromkeys(instance.latency.basis for instance in self.instances())
        return "; ".join(bases)

    @property
    def engine(self) -> str | None:
        """Whose rules its instances follow, in words; None: no engine was named."""
        instances = self.instances()
        return engine_rules(self.scenario, instances if self.scenario.pool else instances[:1])

    def instances(self) -> list[InstanceSpec]:
        """Describe its instances; InputError where the model does not fit, or has no step times."""
        return instances_of(self.scenario, self.files)

    def usd_per_hour(self, instances: int) -> float:
        """Cost of so many instances, or units of pools."""
        counts = self._counts().items()
        return instances * sum(n * self.pool_prices.get(gpu, self.price_usd_per_hour) for gpu, n in counts)

    def at(self, *, instances: int, amount: float, requests: int, seed: int) -> Scenario:
        """Return the experiment that has these: so many instances or units, and such a load."""
        asked = with_load(self.scenario, self.load, amount, requests, seed)
        if asked.pool:
            pools = (
                pool.model_copy(update={"instances": instances * cluster.instances}) for pool, cluster in asked.pools
            )
            return asked.model_copy(update={"pool": tuple(pools)})
        return asked.model_copy(update={"cluster": asked.cluster.model_copy(update={"instances": instances})})


def instances_of(scenario: Scenario, files: OwnFiles) -> list[InstanceSpec]:
    """Describe the instances of a scenario, with the classes of `files` in place of those that it names."""
    classes = files.load()
    return make_instances(scenario, classes.get("scheduler"), classes.get("latency"))


def _gpus(cluster: Any) -> str:
    return f"{load_gpu(cluster.gpu).name} {cluster.parallelism}".rstrip()
