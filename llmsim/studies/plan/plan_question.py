"""The table [plan] of a scenario: what to look for, among what, and how sure to be."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from llmsim.errors import InputError, nearest
from llmsim.experiment.instances import make_scheduler
from llmsim.experiment.own_files import NO_FILES, OwnFiles
from llmsim.latency.hardware import Gpu, load_gpu
from llmsim.metrics.slo import Slo
from llmsim.quantities import Count, NotNegative
from llmsim.scenario import (
    Scenario,
    SchedulerChoice,
    SyntheticWorkload,
)
from llmsim.scenario.load import Change, Places, Source, parse_change, read_source
from llmsim.scenario.messages import input_error
from llmsim.scenario.table import Table
from llmsim.studies.plan.candidates import Candidate
from llmsim.studies.plan.targets import Target, parse_target
from llmsim.workload.synthetic import find_arrivals


def _some(values: tuple[object, ...]) -> tuple[object, ...]:
    if not values:
        raise ValueError("an empty list: expected at least one")
    if any(value in values[:place] for place, value in enumerate(values)):
        raise ValueError("the same value twice")
    return values


Listed = (Field(strict=False), AfterValidator(_some))


class PlanTable(Table):
    """The fewest instances for the workload's rate, or the largest rate for the cluster's instances."""

    find: Literal["instances", "load"] = "instances"
    #: comparisons that must all hold, such as "ttft_s.p99 <= 0.5"
    targets: Annotated[tuple[str, ...], *Listed] = ("slo.attainment >= 0.99",)
    #: probability with which an answer must hold
    confidence: Annotated[float, Field(ge=0.6, lt=1)] = 0.95
    #: what to choose from; left out: the cluster's GPU and parallel size, the scenario's scheduler
    gpus: Annotated[tuple[str, ...], *Listed] | None = None
    tensor_parallel_sizes: Annotated[tuple[Count, ...], *Listed] | None = None
    schedulers: Annotated[tuple[SchedulerChoice, ...], *Listed] | None = None
    most_instances: Annotated[int, Field(ge=1, le=10_000)] = 256
    #: requests of the longest run
    most_requests: Count = 100_000
    least_seeds: Annotated[int, Field(ge=2, le=1000)] = 4
    most_seeds: Annotated[int, Field(ge=2, le=1000)] = 16
    #: the largest rate is found up to this share of it
    resolution: Annotated[float, Field(ge=0.001, le=0.5)] = 0.02
    #: GPU -> USD for an hour of one, in place of its profile's
    price_usd_per_hour: dict[str, NotNegative] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _seeds_in_order(self) -> PlanTable:
        if self.most_seeds < self.least_seeds:
            raise ValueError(f"most_seeds ({self.most_seeds}) is below least_seeds ({self.least_seeds})")
        return self


@dataclass(frozen=True)
class Question:
    """A plan asked for, checked: every candidate can be built, every target is a number of a run."""

    scenario: Scenario
    table: PlanTable
    targets: tuple[Target, ...]
    candidates: tuple[Candidate, ...]
    left_out: tuple[str, ...] = ()  #: of several GPUs and sizes, those that the model cannot be served on, and why
    files: OwnFiles = NO_FILES

    @property
    def rate_per_s(self) -> float:
        """Requests per second that the scenario asks for."""
        workload = self.scenario.workload
        assert isinstance(workload, SyntheticWorkload)
        return float(workload.arrivals.options["rate_per_s"])


def read_plan(path: str, overrides: Sequence[str] = (), files: OwnFiles = NO_FILES) -> Question:
    """Read a scenario and its [plan]; `overrides` are ``key=value``, those of the plan ``plan.key=value``.

    `files` are those of ``--scheduler-file`` and ``--latency-file``. Raises InputError with file, line and key.
    """
    source = read_source(path)
    changes = [parse_change(text) for text in overrides]
    of_scenario = [change for change in changes if change.keys[0] != "plan"]
    scenario = source.scenario([*of_scenario, *files.changes()])
    if not isinstance(scenario.workload, SyntheticWorkload):
        raise InputError(
            f"{scenario.where('workload')}a trace has one length and no other draws; a plan needs drawn requests "
            "(arrivals and lengths)"
        )
    if scenario.workload.classes_arrive:
        raise InputError(
            f"{scenario.where('workload', 'classes')}classes have arrivals of their own, so that there is no rate to "
            "plan for; a plan needs classes with weights, and workload.arrivals"
        )
    if scenario.workload.arrivals.concurrency is not None:
        raise InputError(
            f"{scenario.where('workload', 'arrivals')}a closed loop asks for no rate: it slows down with the cluster; "
            "a plan needs poisson, gamma, constant or on_off arrivals"
        )
    if not find_arrivals(scenario.workload.arrivals.process).steady:
        raise InputError(
            f"{scenario.where('workload', 'arrivals')}a load that changes has no one rate to plan for; "
            "expected poisson, gamma, constant or on_off arrivals"
        )
    if scenario.workload.sessions is not None:
        raise InputError(
            f"{scenario.where('workload', 'sessions')}arrivals are those of conversations here, whose turns depend on "
            "the cluster; a plan needs requests that come by themselves"
        )
    if scenario.pool:
        raise InputError(f"{scenario.where('pool')}a plan varies the instances of one pool; expected [cluster] alone")
    places = Places(str(source.file), source.lines, {change.keys: change.place for change in changes})
    if scenario.autoscaling is not None:
        raise InputError(f"{scenario.where('autoscaling')}a plan looks for a number of instances that stays")
    table = _table(source, [change for change in changes if change.keys[0] == "plan"], places)
    targets = tuple(
        parse_target(text, f"{places(('plan', 'targets'))}plan.targets: ", Slo(**scenario.slo.model_dump()))
        for text in table.targets
    )
    if files.scheduler is not None and table.schedulers is not None:
        raise InputError(f"{places(('plan', 'schedulers'))}plan.schedulers: --scheduler-file is one scheduler for all")
    asked = _candidates(scenario, table, places, files.resolved())
    candidates, left_out = _that_can_serve(asked) if len(asked) > 1 else (asked, ())
    return Question(scenario, table, targets, candidates, left_out, files.resolved())


def _that_can_serve(asked: tuple[Candidate, ...]) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """The candidates whose model fits and has step times, and what the others lack; InputError if there is none."""
    can, left_out = [], {}
    for candidate in asked:
        try:
            candidate.instances()
            can.append(candidate)
        except InputError as error:
            left_out[candidate.hardware] = str(error).rpartition("cluster.")[2].partition(": ")[2]
            if candidate is asked[-1] and not can:
                raise
    return tuple(can), tuple(f"{hardware}: {why}" for hardware, why in left_out.items())


def _table(source: Source, changes: Sequence[Change], places: Places) -> PlanTable:
    if "plan" not in source.data and not changes:
        raise InputError(
            f"{source.file}: no table [plan]; give one, such as scenarios/plan_h100.toml has, "
            "or its keys with --set plan.KEY=VALUE"
        )
    data: Any = copy.deepcopy(source.data.get("plan", {}))
    if not isinstance(data, dict):
        raise InputError(f"{places(('plan',))}plan: {data!r}: expected a table")
    for change in changes:
        if len(change.keys) != 2:
            raise InputError(f"{change.place}{'.'.join(change.keys)}: expected plan.KEY=VALUE")
        data[change.keys[1]] = change.value
    try:
        return PlanTable.model_validate(data)
    except ValidationError as error:
        raise input_error(error, PlanTable, places, ("plan",)) from None


@dataclass(frozen=True)
class _Listed:
    """Places of a candidate's values: its scheduler stands in the plan's list, all else where the scenario has it."""

    places: Places

    def __call__(self, keys: tuple[str, ...]) -> str:
        return self.places(("plan", "schedulers") if keys and keys[0] == "scheduler" else keys)


def _candidates(scenario: Scenario, table: PlanTable, places: Places, files: OwnFiles) -> tuple[Candidate, ...]:
    cluster = scenario.cluster
    gpus = table.gpus or (cluster.gpu,)
    sizes = table.tensor_parallel_sizes or (cluster.tensor_parallel_size,)
    if cluster.num_gpu_blocks is not None and len(gpus) * len(sizes) > 1:
        raise InputError(
            f"{scenario.where('cluster', 'num_gpu_blocks')}one number of blocks for several GPUs or parallel sizes; "
            "leave it out, or give one of each"
        )
    profiles = {name: _gpu(name, places, listed=table.gpus is not None) for name in gpus}
    called = {name: {name, gpu.name} for name, gpu in profiles.items()}
    for name in table.price_usd_per_hour:
        if not any(name in names for names in called.values()):
            where = places(("plan", "price_usd_per_hour", name))
            known = set().union(*called.values())
            raise InputError(f"{where}plan.price_usd_per_hour: no candidate has {name}{nearest(name, known)}")
    return tuple(
        _candidate(scenario, table, places, (name, gpu), size, scheduler, files)
        for name, gpu in profiles.items()
        for size in sizes
        for scheduler in table.schedulers or (scenario.scheduler,)
    )


def _candidate(
    scenario: Scenario,
    table: PlanTable,
    places: Places,
    called: tuple[str, Gpu],
    size: int,
    scheduler: SchedulerChoice,
    files: OwnFiles,
) -> Candidate:
    name, gpu = called
    where = name if name.endswith(".toml") else gpu.name  # a file is found by its path alone
    cluster = scenario.cluster.model_copy(update={"gpu": where, "tensor_parallel_size": size})
    chosen = scenario.model_copy(update={"cluster": cluster, "scheduler": scheduler})
    chosen._place = _Listed(places) if table.schedulers else places
    make_scheduler(chosen, files.load().get("scheduler"))  # an unknown name or option is told before anything runs
    prices = table.price_usd_per_hour
    return Candidate(chosen, prices.get(name, prices.get(gpu.name, gpu.price_usd_per_hour)), files)


def _gpu(name: str, places: Places, *, listed: bool) -> Gpu:
    try:
        return load_gpu(name)
    except InputError as error:
        key = ("plan", "gpus") if listed else ("cluster", "gpu")
        raise InputError(f"{places(key)}{'.'.join(key)}: {error}") from None
