"""Which assumption moves a plan's answer: the largest load of its cluster with each of them lower, and higher.

The largest load is that at which one run, judged as a whole, keeps every target; all are found alike, with the same
seed, so that what differs is what was assumed. Costs are those of the load asked for: of so many instances, and parts
of one, as it would take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from llmsim.experiment.parts import make_host
from llmsim.latency.residuals import RESIDUALS, Kind
from llmsim.scenario import Scenario, SyntheticWorkload
from llmsim.scenario.cluster import EngineHostTable, HostTable
from llmsim.scenario.workload import ArrivalsTable
from llmsim.studies.plan.candidates import Candidate
from llmsim.studies.plan.certainty import factor_at
from llmsim.studies.plan.loads import USERS
from llmsim.studies.plan.measured_runs import AS_IT_IS, Altered
from llmsim.studies.plan.searches import along_loads

#: quantiles of the error of step times; where it was not measured, by so much shorter and longer
LOW, HIGH, UNKNOWN_ERROR = 0.1, 0.9, 0.1
#: by how much outputs may be shorter and longer than assumed, and prices lower and higher
OUTPUTS, PRICE = 0.1, 0.2
#: factors on the host's times, and on the burstiness of gaps (1 is Poisson, below it is burstier)
TIMES = 2.0
#: host times where a scenario has none: those of an engine that waits for its host, and of one that works ahead
HOST, ASYNC_HOST = "vllm-0.11.0-h100", "vllm-0.15.1"
#: the largest load is found up to this factor, in steps that begin with the other
NEAR, STEP = 1.02, 1.05


@dataclass(frozen=True, slots=True)
class End:
    """One end of a bar: what is assumed there, the largest load, and what the load asked for costs."""

    said: str
    amount: float | None  #: None: not even the least load that was looked at
    usd_per_hour: float | None


@dataclass(frozen=True, slots=True)
class Bar:
    """An assumption, lower and higher; an end that is the answer's own assumption costs what the answer does."""

    assumption: str
    low: End
    high: End

    @property
    def swing(self) -> float:
        """USD/h between its ends; the longest where one end carries nothing."""
        costs = (self.low.usd_per_hour, self.high.usd_per_hour)
        return float("inf") if None in costs else abs(float(costs[1] or 0) - float(costs[0] or 0))


@dataclass(frozen=True, slots=True)
class Tornado:
    """The bars, the longest first, around the answer's own largest load and its cost."""

    load_key: str
    asked: float  #: load that costs are of
    amount: float  #: largest load with everything as assumed
    usd_per_hour: float
    bars: tuple[Bar, ...]
    not_varied: Mapping[str, str]  #: assumption -> why

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""

        def end(one: End) -> dict[str, Any]:
            return {"assumed": one.said, self.load_key: one.amount, "usd_per_hour": one.usd_per_hour}

        bars = [{"assumption": bar.assumption, "low": end(bar.low), "high": end(bar.high)} for bar in self.bars]
        return {
            f"asked_{self.load_key}": self.asked,
            f"largest_{self.load_key}": self.amount,
            "usd_per_hour": self.usd_per_hour,
            "bars": bars,
            "not_varied": dict(self.not_varied),
        }


@dataclass(frozen=True)
class Variant:
    """A candidate with one assumption otherwise."""

    said: str
    candidate: Candidate
    altered: Altered = AS_IT_IS
    times_load: float = 1.0  #: about so many times the load are likely carried: where a search begins


#: whether a candidate, altered, keeps the targets at an amount
Keeps = Callable[..., bool]


def tornado(
    candidate: Candidate, kind: Kind | None, asked: float, usd_per_hour: float, keeps: Keeps, *, find: str
) -> Tornado | None:
    """Vary every assumption that the scenario has; None where the answer's own largest load is not found.

    `asked` and `usd_per_hour` are the load that the answer carries and what its cluster costs, `keeps(candidate,
    altered, amount=...)` says whether one run keeps the targets. With `find` "load" costs are of the largest load.
    """
    users = candidate.load.key == USERS

    def largest(variant: Variant, start: float) -> float | None:
        test = partial(keeps, variant.candidate, variant.altered)
        first = max(1.0, round(start)) if users else start
        return along_loads(first, users=users, near=NEAR, step=STEP)(lambda amount: test(amount=amount))[0]

    own = largest(Variant("as it is", candidate), asked)
    if own is None:
        return None
    load = own if find == "load" else asked
    whole = usd_per_hour * load / own

    def end(variant: Variant | None) -> End:
        if variant is None:
            return End("as it is", own, whole)
        amount = largest(variant, own * variant.times_load)
        return End(variant.said, amount, None if amount is None else usd_per_hour * load / amount)

    varied, not_varied = _assumptions(candidate, kind)
    bars = [Bar(name, end(low), end(high)) for name, (low, high) in varied.items()]
    prices = (End(f"x {factor:g}", own, factor * whole) for factor in (1 - PRICE, 1 + PRICE))
    bars.append(Bar("price", *prices))
    ordered = tuple(sorted(bars, key=lambda bar: -bar.swing))
    return Tornado(candidate.load.key, load, own, whole, ordered, not_varied)


Ends = tuple[Variant | None, Variant | None]


def _assumptions(candidate: Candidate, kind: Kind | None) -> tuple[dict[str, Ends], dict[str, str]]:
    """Each assumption's lower and higher variant, None where an end is as it is; and why others are not varied."""
    found: dict[str, Ends] = {"step times": _step_times(candidate, kind)}
    why_not: dict[str, str] = {}
    for name, make in (("host", _host), ("output lengths", _outputs), ("burstiness", _bursts), ("prefix hits", _hits)):
        ends = make(candidate)
        if isinstance(ends, str):
            why_not[name] = ends
        else:
            found[name] = ends
    return found, why_not


def _step_times(candidate: Candidate, kind: Kind | None) -> Ends:
    factors = (
        (1 - UNKNOWN_ERROR, 1 + UNKNOWN_ERROR)
        if kind is None
        else (factor_at(RESIDUALS[kind], LOW), factor_at(RESIDUALS[kind], HIGH))
    )
    low, high = (Variant(f"x {factor:g}", candidate, Altered(factor), 1 / factor) for factor in factors)
    return low, high


def _outputs(candidate: Candidate) -> Ends | str:
    workload = candidate.scenario.workload
    if getattr(workload, "sessions", None) is not None:
        return "prompts of conversations repeat outputs"
    factors = (1 - OUTPUTS, 1 + OUTPUTS)
    low, high = (Variant(f"x {factor:g}", candidate, Altered(outputs=factor), 1 / factor) for factor in factors)
    return low, high


def _host(candidate: Candidate) -> Ends | str:
    """Half and twice its times; where the scenario has none, none and those that were fitted for an engine."""
    scenario = candidate.scenario
    if any(pool.host != EngineHostTable() for pool in scenario.pool):
        return "pools have host times of their own"
    times = make_host(scenario).model_dump()
    largest_graph = times.pop("max_cudagraph_capture_size")
    if not any(times.values()):
        profile = ASYNC_HOST if any(each.async_scheduling for each in candidate.instances()) else HOST
        return None, Variant(profile, _with(candidate, host=HostTable(profile=profile)))
    low, high = (
        Variant(
            f"x {factor:g}",
            _with(
                candidate,
                host=HostTable(
                    **{key: factor * value for key, value in times.items()}, max_cudagraph_capture_size=largest_graph
                ),
            ),
        )
        for factor in (1 / TIMES, TIMES)
    )
    return low, high


def _bursts(candidate: Candidate) -> Ends | str:
    """Half and twice the burstiness of Poisson or gamma arrivals."""
    workload = candidate.scenario.workload
    arrivals = workload.arrivals if isinstance(workload, SyntheticWorkload) and not workload.classes_arrive else None
    if arrivals is None or arrivals.process not in ("poisson", "gamma"):
        return "arrivals are not drawn with gaps of one shape"
    shape = arrivals.options.get("burstiness", 1.0)

    def bursty(factor: float) -> Variant:
        made = ArrivalsTable.of("gamma", **{**arrivals.options, "burstiness": factor * shape})
        changed = _with(candidate, workload=workload.model_copy(update={"arrivals": made}))
        return Variant(f"gamma {factor * shape:g}", changed)

    return bursty(TIMES), bursty(1 / TIMES)


def _hits(candidate: Candidate) -> Ends | str:
    """As it is, and no hits at all."""
    scenario, shared = candidate.scenario, list(_prefixed(candidate.scenario))
    if not scenario.cluster.prefix_caching or not any(shared):
        return "no prompts begin alike, or none are kept"
    cluster = scenario.cluster.model_copy(update={"prefix_caching": False})
    return None, Variant("none", _with(candidate, cluster=cluster))


def _prefixed(scenario: Scenario) -> Iterator[bool]:
    """Whether parts of a workload have prompts that begin alike; of files it is not known before they are read."""
    workload = scenario.workload
    if not isinstance(workload, SyntheticWorkload):
        yield True
        return
    yield workload.prefixes is not None or workload.sessions is not None
    yield from (each.prefixes is not None for each in workload.classes)


def _with(candidate: Candidate, **changes: Any) -> Candidate:
    return replace(candidate, scenario=candidate.scenario.model_copy(update=changes))
