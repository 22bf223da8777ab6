"""One way to serve the load: a GPU, how many of them an instance has, and a scheduler with its options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmsim.cluster import InstanceSpec
from llmsim.experiment.engine_rules import engine_rules
from llmsim.experiment.instances import make_instances
from llmsim.experiment.own_files import NO_FILES, OwnFiles
from llmsim.latency.hardware import load_gpu
from llmsim.scenario import Scenario


@dataclass(frozen=True)
class Candidate:
    """A scenario whose number of instances or rate is open, and what a GPU of it costs."""

    scenario: Scenario
    price_usd_per_hour: float  #: of one GPU
    files: OwnFiles = NO_FILES

    @property
    def gpus_per_instance(self) -> int:
        """GPUs of one instance."""
        return self.scenario.cluster.tensor_parallel_size

    @property
    def gpu(self) -> str:
        """Name of its GPU, also where the scenario has the path of a file."""
        return load_gpu(self.scenario.cluster.gpu).name

    @property
    def hardware(self) -> str:
        """The GPUs of an instance, in words."""
        parallel = f" TP{self.gpus_per_instance}" if self.gpus_per_instance > 1 else ""
        return f"{self.gpu}{parallel}"

    @property
    def scheduler(self) -> str:
        """The scheduler and the options given, in words."""
        options = ", ".join(f"{key} {value}" for key, value in self.scenario.scheduler.options.items())
        return f"{self.scenario.scheduler.name}{f' ({options})' if options else ''}"

    @property
    def step_times(self) -> str:
        """What its step times rest on, in words."""
        return self.instances()[0].latency.basis

    @property
    def engine(self) -> str | None:
        """Whose rules its instances follow, in words; None: no engine was named."""
        return engine_rules(self.scenario, self.instances()[:1])

    def instances(self) -> list[InstanceSpec]:
        """Describe its instances; InputError where the model does not fit, or has no step times."""
        return instances_of(self.scenario, self.files)

    def usd_per_hour(self, instances: int) -> float:
        """Cost of so many instances."""
        return instances * self.gpus_per_instance * self.price_usd_per_hour

    def at(self, *, instances: int, rate_per_s: float, requests: int, seed: int) -> Scenario:
        """Return the experiment that has these."""
        workload: Any = self.scenario.workload
        arrivals = workload.arrivals.model_copy(update={"rate_per_s": rate_per_s})
        return self.scenario.model_copy(
            update={
                "seed": seed,
                "cluster": self.scenario.cluster.model_copy(update={"instances": instances}),
                "workload": workload.model_copy(update={"requests": requests, "arrivals": arrivals}),
            }
        )


def instances_of(scenario: Scenario, files: OwnFiles) -> list[InstanceSpec]:
    """Describe the instances of a scenario, with the classes of `files` in place of those that it names."""
    classes = files.load()
    return make_instances(scenario, classes.get("scheduler"), classes.get("latency"))
