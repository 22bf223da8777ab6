"""A scenario becomes the parts of a run, once: whatever runs a scenario takes them from here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from llmsim import guests
from llmsim.cluster import InstanceSpec, RunOptions, build_cluster, simulate
from llmsim.experiment.autoscaling import make_autoscaling
from llmsim.experiment.instances import make_instances
from llmsim.experiment.parts import (
    make_admission,
    make_api,
    make_patience,
    make_retries,
    make_slo,
    make_user,
    make_window,
)
from llmsim.experiment.quality import make_escalation, make_quality, quality_in_trace
from llmsim.experiment.requests import make_workload
from llmsim.experiment.routing import check_declining, make_disaggregation, make_reports, make_router
from llmsim.experiment.sizes import check_fits, check_workload_fits
from llmsim.experiment.speculation import make_acceptance
from llmsim.latency.contract import LatencySource
from llmsim.latency.scaled import Scaled
from llmsim.metrics.smooth_goodput import User
from llmsim.metrics.window import Window
from llmsim.record import Record
from llmsim.router import Router
from llmsim.scenario import Scenario
from llmsim.scheduler import Scheduler
from llmsim.slo import Slo
from llmsim.time_limit import TimeLimited
from llmsim.workload.contract import Workload
from llmsim.workload.streams import Streams, streams

#: called now and then with the number of requests that have ended, and the number of all
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Assembly:
    """The parts of one run. `simulate` uses up the streams: assemble anew for another run."""

    workload: Workload
    instances: tuple[InstanceSpec, ...]
    router: Router
    streams: Streams
    options: RunOptions
    slo: Slo
    user: User
    window: Window

    @property
    def num_gpu_blocks(self) -> tuple[int, ...]:
        """KV blocks of each instance."""
        return tuple(instance.num_gpu_blocks for instance in self.instances)

    @property
    def lazy(self) -> bool:
        """Whether instances make no events of their own, since nothing reads them between arrivals."""
        cluster = build_cluster(self.workload, self.instances, self.router, self.streams.routing, self.options)
        return not cluster.fleet.eager

    @property
    def step_times(self) -> str:
        """What the instances' step times rest on, in words."""
        return "; ".join(dict.fromkeys(instance.latency.basis for instance in self.instances))

    def with_step_times(self, factor: float) -> Assembly:
        """Return the same parts, but every step takes `factor` times as long."""
        return replace(self, instances=tuple(_slowed(instance, factor) for instance in self.instances))

    def with_outputs(self, factor: float) -> Assembly:
        """Return the same parts, but every output is `factor` times as long; InputError for conversations."""
        return replace(self, workload=self.workload.with_outputs(factor))

    def simulate(self, *, stepwise: bool = False, progress: Progress | None = None) -> Record:
        """Serve the requests; `stepwise` takes every step on its own, with the same result."""
        requests = len(self.workload)
        return simulate(
            self.workload,
            self.instances,
            self.router,
            self.streams.routing,
            replace(self.options, stretches=not stepwise),
            on_progress=None if progress is None else lambda ended: progress(ended, requests),
        )


@guests.contained()
def assemble(
    scenario: Scenario,
    *,
    scheduler: type[Scheduler] | None = None,
    latency: type[LatencySource] | None = None,
    workload: Workload | None = None,
    decision_limit_s: float | None = None,
) -> Assembly:
    """Make all that a run of a scenario consists of.

    `scheduler` and `latency` take the place of those that the scenario names, with the options it gives; `workload`
    that of the scenario's requests, which are not drawn or read then. A scheduler that takes longer than
    `decision_limit_s` to decide, by the clock on the wall, is refused as `PolicyError`. Raises InputError with place
    and key for what the scenario asks and cannot have.
    """
    check_fits(scenario)
    router = make_router(scenario)
    slo, user, window = make_slo(scenario), make_user(scenario), make_window(scenario)
    instances = make_instances(scenario, scheduler, latency)
    check_declining(scenario, router, instances)
    draws = streams(scenario.seed)
    if workload is None:
        workload = make_workload(scenario, draws)
    check_workload_fits(scenario, workload, max(spec.max_model_len for spec in instances))
    workload = replace(workload, acceptance=make_acceptance(scenario, draws.speculation, workload))
    of_answers, of_judges = draws.quality.spawn(2)
    workload = replace(workload, quality=make_quality(scenario, router, of_answers, workload))
    escalation = make_escalation(scenario, router, of_judges, workload.quality)
    options = replace(make_options(scenario, draws, len(workload)), escalation=escalation)
    if decision_limit_s is not None:
        limited = (TimeLimited.around(spec.scheduler, decision_limit_s) for spec in instances)
        instances = [replace(spec, scheduler=each) for spec, each in zip(instances, limited, strict=True)]
    return Assembly(workload, tuple(instances), router, draws, options, slo, user, window)


def make_options(scenario: Scenario, draws: Streams, requests: int) -> RunOptions:
    """Gather what a scenario says of clients, users and the cluster as a whole."""
    return RunOptions(
        until_s=scenario.until_s,
        patience=make_patience(scenario, draws.users, requests),
        retries=make_retries(scenario, draws.retries, requests),
        max_in_flight=scenario.max_in_flight,
        api=make_api(scenario),
        admission=make_admission(scenario),
        reports=make_reports(scenario),
        disaggregation=make_disaggregation(scenario),
        autoscaling=make_autoscaling(scenario),
    )


#: in place of the requests, where only the other parts are looked at
ONE_REQUEST = Workload(np.zeros(1), np.ones(1, np.int64), np.ones(1, np.int64), "one request")


def check(
    scenario: Scenario,
    *,
    scheduler: type[Scheduler] | None = None,
    latency: type[LatencySource] | None = None,
    decision_limit_s: float | None = None,
) -> None:
    """Assemble all that a run consists of but its requests: InputError for what cannot be had."""
    one = replace(ONE_REQUEST, quality=quality_in_trace(scenario))
    assemble(scenario, scheduler=scheduler, latency=latency, workload=one, decision_limit_s=decision_limit_s)


def _slowed(instance: InstanceSpec, factor: float) -> InstanceSpec:
    speculation = instance.speculation
    if speculation is not None:
        times, mixed = {k: Scaled(latency, factor) for k, latency in speculation.latency.items()}, speculation.mixed
        slower = None if mixed is None else lambda mix: Scaled(mixed(mix), factor)
        speculation = replace(speculation, latency=times, mixed=slower)
    return replace(instance, latency=Scaled(instance.latency, factor), speculation=speculation)
