"""One way to serve the load: a GPU, how many of them an instance has, and a scheduler with its options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmsim.experiment.engine_rules import engine_rules
from llmsim.experiment.instances import make_instances
from llmsim.scenario import Scenario


@dataclass(frozen=True)
class Candidate:
    """A scenario whose number of instances or rate is open, and what a GPU of it costs."""

    scenario: Scenario
    price_usd_per_hour: float  #: of one GPU

    @property
    def gpus_per_instance(self) -> int:
        """GPUs of one instance."""
        return self.scenario.cluster.tensor_parallel_size

    @property
    def hardware(self) -> str:
        """The GPUs of an instance, in words."""
        parallel = f" TP{self.gpus_per_instance}" if self.gpus_per_instance > 1 else ""
        return f"{self.scenario.cluster.gpu}{parallel}"

    @property
    def scheduler(self) -> str:
        """The scheduler and the options given, in words."""
        options = ", ".join(f"{key} {value}" for key, value in self.scenario.scheduler.options.items())
        return f"{self.scenario.scheduler.name}{f' ({options})' if options else ''}"

    @property
    def step_times(self) -> str:
        """What its step times rest on, in words."""
        return make_instances(self.scenario)[0].latency.basis

    @property
    def engine(self) -> str | None:
        """Whose rules its instances follow, in words; None: no engine was named."""
        return engine_rules(self.scenario, make_instances(self.scenario)[:1])

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
