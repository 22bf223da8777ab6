"""The table [plan] of a scenario: what to look for, among what, and how sure to be."""

from __future__ import annotations

import copy
import itertools
import math
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from llmsim.errors import InputError, nearest
from llmsim.experiment.instances import make_scheduler
from llmsim.experiment.own_files import NO_FILES, OwnFiles
from llmsim.latency.hardware import Gpu, load_gpu
from llmsim.quantities import Count, NotNegative
from llmsim.scenario import Scenario, SchedulerChoice
from llmsim.scenario.load import NOTHING, Change, Places, Source, parse_change, read_source, split_key
from llmsim.scenario.messages import input_error
from llmsim.scenario.table import Table
from llmsim.slo import Slo
from llmsim.studies.plan.candidates import Candidate
from llmsim.studies.plan.definitions import definition
from llmsim.studies.plan.loads import SUPERPOSED, Load, load_of
from llmsim.studies.plan.targets import Target, parse_target


def _some(values: tuple[object, ...]) -> tuple[object, ...]:
    if not values:
        raise ValueError("an empty list: expected at least one")
    if any(value in values[:place] for place, value in enumerate(values)):
        raise ValueError("the same value twice")
    return values


Listed = (Field(strict=False), AfterValidator(_some))
#: 1P3D: instances for prefill and for decode; 4: as many that do both
_SPLIT = re.compile(r"(\d+)P(\d+)D|(\d+)(?: mixed)?")
MOST_CANDIDATES = 1_000


def _splits(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        found = _SPLIT.fullmatch(value)
        if not found or any(count is not None and int(count) == 0 for count in found.groups()):
            raise ValueError(f"{value!r}: expected instances for prefill and decode such as 1P3D, or 4 that do both")
    return values


class PlanTable(Table):
    """The fewest instances for the workload's load, or the largest load for the cluster's instances."""

    find: Literal["instances", "load"] = "instances"
    #: comparisons that must all hold, such as "ttft_s.p99 <= 0.5"
    targets: Annotated[tuple[str, ...], *Listed] = ("slo.attainment >= 0.99",)
    #: probability with which an answer must hold
    confidence: Annotated[float, Field(ge=0.6, lt=1)] = 0.95
    #: what to choose from; left out: the cluster's GPU and parallel size, the scenario's scheduler
    gpus: Annotated[tuple[str, ...], *Listed] | None = None
    tensor_parallel_sizes: Annotated[tuple[Count, ...], *Listed] | None = None
    schedulers: Annotated[tuple[SchedulerChoice, ...], *Listed] | None = None
    #: instances for prefill and decode, "1P3D", or "4" that do both; left out: [[pool]] as it is
    splits: Annotated[tuple[str, ...], *Listed, AfterValidator(_splits)] | None = None
    #: any other key of the scenario -> values to choose from, such as "scheduler.max_num_batched_tokens"
    vary: dict[str, list[Any]] = Field(default_factory=dict)
    most_instances: Annotated[int, Field(ge=1, le=10_000)] = 256
    #: sizes beyond each answer that are looked at, too: of the page's sliders, for a stricter SLO
    more_sizes: Annotated[int, Field(ge=0, le=100)] = 0
    #: requests of the longest run; of the largest load also of all runs of one length that try to tell it
    most_requests: Count = 100_000
    least_seeds: Annotated[int, Field(ge=2, le=1000)] = 4
    most_seeds: Annotated[int, Field(ge=2, le=1000)] = 16
    #: the largest rate is found up to this share of it
    resolution: Annotated[float, Field(ge=0.001, le=0.5)] = 0.02
    #: how a trace comes faster or slower: its times pressed, or its requests thinned or beside copies of themselves
    trace_rates: Literal["pressed", "superposed"] = "pressed"
    #: of a load that changes: answer for so many phases of its period, too, as instances that follow it would need
    phases: Annotated[int, Field(ge=2, le=96)] | None = None
    #: whether to say how sure the best answer is of the step times, too: some more evaluations
    model_error: bool = True
    #: whether to say which assumption moves the best answer (step times, host, lengths, burstiness …): minutes
    tornado: bool = False
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
    load: Load
    left_out: tuple[str, ...] = ()  #: of several GPUs and sizes, those that the model cannot be served on, and why
    autoscaled: Candidate | None = None  #: the scenario with its rule for instances that come and go
    about: str = ""  #: whose definition of capacity this is
    files: OwnFiles = NO_FILES
    command: str = ""  #: that asks for it


def read_plan(
    path: str, overrides: Sequence[str] = (), files: OwnFiles = NO_FILES, *, named: str | None = None
) -> Question:
    """Read a scenario and its [plan]; `overrides` are ``key=value``, those of the plan ``plan.key=value``.

    `files` are those of ``--scheduler-file`` and ``--latency-file``. `named` is a definition of capacity
    (`definitions`), which takes the place of the plan's targets. Raises InputError with file, line and key.
    """
    source = read_source(path)
    changes = [parse_change(text) for text in overrides]
    of_scenario = [*(change for change in changes if change.keys[0] != "plan"), *files.changes()]
    scenario = source.scenario(of_scenario)
    places = Places(str(source.file), source.lines, {change.keys: change.place for change in changes})
    table = _table(source, [change for change in changes if change.keys[0] == "plan"], places, needed=named is None)
    about = ""
    if named is not None:
        chosen = definition(named)
        _check_named(named, changes)
        table = table.model_copy(update={"find": "load", "targets": chosen.targets(scenario)})
        about = chosen.about
    load = load_of(scenario, table.trace_rates)
    _check(scenario, table, load)
    targets = tuple(
        parse_target(text, f"{places(('plan', 'targets'))}plan.targets: ", Slo(**scenario.slo.model_dump()))
        for text in table.targets
    )
    for target in targets:
        _check_can_be_shown(target, table, load, places)
    if files.scheduler is not None and table.schedulers is not None:
        raise InputError(f"{places(('plan', 'schedulers'))}plan.schedulers: --scheduler-file is one scheduler for all")
    files = files.resolved()
    asked = tuple(_candidates(source, of_scenario, table, places, files, load))
    candidates, left_out = _that_can_serve(asked) if len(asked) > 1 else (asked, ())
    scaled = None
    if scenario.autoscaling is not None:
        scaled = Candidate(scenario, _price(scenario.cluster.gpu, table), files, load)
    command = _command(path, overrides, files, named)
    return Question(scenario, table, targets, candidates, load, left_out, scaled, about, files, command)


def _check_named(named: str, changes: Sequence[Change]) -> None:
    """Refuse what --as answers itself."""
    for change in changes:
        if change.keys == ("plan", "targets") or (change.keys == ("plan", "find") and change.value != "load"):
            key = ".".join(change.keys)
            raise InputError(
                f"{change.place}{key}: --as {named} finds the largest load by targets of its own; leave {key} out"
            )


def _check_can_be_shown(target: Target, table: PlanTable, load: Load, places: Places) -> None:
    """Refuse a share of which no number of drawn requests can be as sure as asked, though not one of them misses."""
    most_missing = target.most_missing
    if load.whole or load.finite or most_missing is None:
        return
    where = f"{places(('plan', 'targets'))}plan.targets: {target}: "
    if most_missing <= 0:
        raise InputError(
            f"{where}no number of drawn requests shows that none ever misses; expected less, such as 0.9999"
        )
    needed = math.ceil(-math.log(1 - table.confidence) / most_missing)
    most = table.most_requests * (table.most_seeds if table.find == "instances" else table.least_seeds)
    if needed > most:
        raise InputError(
            f"{where}takes {needed:,} requests none of which misses, and the longest runs have "
            f"{most:,} together; raise plan.most_requests"
        )


def _command(path: str, overrides: Sequence[str], files: OwnFiles, named: str | None) -> str:
    words = ["llmsim", "plan", path]
    for option, value in (
        *(("--set", text) for text in overrides),
        ("--scheduler-file", files.scheduler),
        ("--latency-file", files.latency),
        ("--as", named),
    ):
        words += [] if value is None else [option, str(value)]
    return shlex.join(words)


def _check(scenario: Scenario, table: PlanTable, load: Load) -> None:
    """Refuse what has no answer of this kind."""
    if scenario.autoscaling is not None and table.find == "load":
        raise InputError(
            f"{scenario.where('autoscaling')}the largest load is that of instances that stay; "
            "leave it out (--set autoscaling=null), or find instances"
        )
    if table.trace_rates == SUPERPOSED and load.by != SUPERPOSED:
        raise InputError(
            f"{scenario.where('workload')}plan.trace_rates is of a trace with times of its own; leave it out"
        )
    alike = [split for split in table.splits or () if "P" not in split]
    if table.find == "instances" and len(alike) > 1:
        raise InputError(
            f"{scenario.where('plan', 'splits')}{' and '.join(map(repr, alike))} ask the same where the "
            "fewest instances are looked for; leave one out, or plan.find = 'load'"
        )
    if table.phases is not None and load.period_s is None:
        raise InputError(
            f"{scenario.where('workload', 'arrivals')}plan.phases are of a load that changes and repeats itself; "
            "expected diurnal arrivals, or piecewise ones with period_s"
        )


def _that_can_serve(asked: tuple[Candidate, ...]) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """The candidates whose model fits and has step times, and what the others lack; InputError if there is none."""
    can, left_out = [], {}
    for candidate in asked:
        try:
            candidate.instances()
            can.append(candidate)
        except InputError as error:
            left_out[candidate.hardware] = str(error).rpartition("cluster.")[2].partition(": ")[2] or str(error)
            if candidate is asked[-1] and not can:
                raise
    return tuple(can), tuple(f"{hardware}: {why}" for hardware, why in left_out.items())


def _table(source: Source, changes: Sequence[Change], places: Places, *, needed: bool) -> PlanTable:
    if needed and "plan" not in source.data and not changes:
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


def _candidates(
    source: Source, changes: Sequence[Change], table: PlanTable, places: Places, files: OwnFiles, load: Load
) -> Iterator[Candidate]:
    """Every combination of what is listed, the last list moving fastest."""
    first = source.scenario(changes)
    gpus = table.gpus or (first.cluster.gpu,)
    sizes = table.tensor_parallel_sizes or (first.cluster.tensor_parallel_size,)
    if first.cluster.num_gpu_blocks is not None and len(gpus) * len(sizes) > 1:
        raise InputError(
            f"{first.where('cluster', 'num_gpu_blocks')}one number of blocks for several GPUs or parallel sizes; "
            "leave it out, or give one of each"
        )
    profiles = {name: _gpu(name, places, listed=table.gpus is not None) for name in gpus}
    _check_prices(table, [*gpus, *(cluster.gpu for _, cluster in first.pools)], places)
    rows = list(_varied(table, places))
    lists = (profiles.items(), sizes, table.splits or (None,), rows, table.schedulers or (None,))
    if math.prod(map(len, lists)) > MOST_CANDIDATES:
        raise InputError(f"{places(('plan',))}plan: more than {MOST_CANDIDATES:,} candidates")
    for (name, gpu), size, split, row, scheduler in itertools.product(*lists):
        hardware = [Change(("cluster", "gpu"), name if name.endswith(".toml") else gpu.name)] if table.gpus else []
        hardware += [Change(("cluster", "tensor_parallel_size"), size)] if table.tensor_parallel_sizes else []
        moved = [Change(split_key(key), value, places(("plan", "vary"))) for key, value in row.items()]
        scenario = source.scenario([*changes, *hardware, *_split(split, first, places), *moved])
        if scheduler is not None:
            scenario = scenario.model_copy(update={"scheduler": scheduler})
            scenario._place = _Listed(places)
        make_scheduler(
            scenario, files.load().get("scheduler")
        )  # an unknown name or option is told before anything runs
        yield Candidate(
            scenario.model_copy(update={"autoscaling": None}),
            _price(name, table),
            files,
            load,
            row,
            {cluster.gpu: _price(cluster.gpu, table) for _, cluster in scenario.pools},
        )


def _varied(table: PlanTable, places: Places) -> Iterator[dict[str, Any]]:
    """Every combination of the values of plan.vary."""
    where = f"{places(('plan', 'vary'))}plan.vary: "
    for key, values in table.vary.items():
        if not values or any(value in values[:i] for i, value in enumerate(values)):
            raise InputError(f"{where}{key}: expected a list of values that differ")
        if split_key(key)[0] in ("workload", "seed", "plan", "slo", "user", "window"):
            raise InputError(f"{where}{key}: candidates serve the same load, and are judged alike")
    for row in itertools.product(*table.vary.values()):
        yield dict(zip(table.vary, row, strict=True))


def _split(split: str | None, scenario: Scenario, places: Places) -> list[Change]:
    """What a split changes: how many instances the pools for prefill and decode have, or that there are none."""
    if split is None:
        return []
    found = _SPLIT.fullmatch(split)
    assert found is not None
    prefill, decode, mixed = found.groups()
    if mixed is not None:
        gone = [Change((key,), NOTHING) for key in ("pool", "kv_transfer")]
        return [*gone, Change(("cluster", "instances"), int(mixed))]
    changes = []
    for role, count in (("prefill", prefill), ("decode", decode)):
        pools = [i for i, pool in enumerate(scenario.pool) if pool.role == role]
        if len(pools) != 1:
            place = places(("plan", "splits"))
            raise InputError(f"{place}plan.splits: {split} needs one [[pool]] with role = '{role}'")
        changes.append(Change(("pool", str(pools[0]), "instances"), int(count)))
    return changes


def _check_prices(table: PlanTable, gpus: Sequence[str], places: Places) -> None:
    known = {*gpus, *(load_gpu(gpu).name for gpu in gpus)}
    for name in table.price_usd_per_hour:
        if name not in known:
            where = places(("plan", "price_usd_per_hour", name))
            raise InputError(f"{where}plan.price_usd_per_hour: no candidate has {name}{nearest(name, known)}")


def _price(name: str, table: PlanTable) -> float:
    """USD for an hour of a GPU: as the plan has it, by either of its names, or its profile."""
    gpu, prices = load_gpu(name), table.price_usd_per_hour
    return prices.get(name, prices.get(gpu.name, gpu.price_usd_per_hour))


def _gpu(name: str, places: Places, *, listed: bool) -> Gpu:
    try:
        return load_gpu(name)
    except InputError as error:
        key = ("plan", "gpus") if listed else ("cluster", "gpu")
        raise InputError(f"{places(key)}{'.'.join(key)}: {error}") from None
