"""What a plan varies of a load: the rate of drawn requests, the users of a closed loop, the speed of a trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmsim.errors import InputError
from llmsim.experiment import make_workload
from llmsim.scenario import Scenario, SyntheticWorkload
from llmsim.scenario.workload import ArrivalsTable, TraceWorkload
from llmsim.workload.streams import streams
from llmsim.workload.synthetic import arrival_process

RATE, USERS = "rate_per_s", "users"
#: how a trace's requests come faster: its times are divided, or it is laid beside copies of itself (or thinned)
PRESSED, SUPERPOSED = "pressed", "superposed"
CLIENTS = "clients"  #: of ServeGen, whose requests are drawn
_MADE_FASTER = {
    PRESSED: "its times are pressed or stretched, bursts and lulls with them",
    SUPERPOSED: "over the same time, thinned at random, or beside copies of it at other times, with users of their own",
    CLIENTS: "the rate of each client is scaled, windows keep their lengths",
}
#: requests whose arrivals tell the mean rate of a process that has no option for it
COUNTED = 20_000
#: likewise for each phase of a period
PHASE_REQUESTS = 20_000


@dataclass(frozen=True, slots=True)
class Load:
    """How much a scenario asks for, and how that is varied."""

    key: str  #: `RATE` or `USERS`
    amount: float  #: what the scenario asks for: mean requests per second, or users
    stated: str  #: how other amounts are made, in words
    period_s: float | None = None  #: of a rate that changes: runs last whole periods
    whole: bool = False  #: of a file: it has one length, and is judged as it is
    given: bool = False  #: nothing of it is drawn, so that one run says all that there is to say
    by: str = PRESSED  #: how a file's requests come faster

    @property
    def finite(self) -> bool:
        """Whether a run is a whole in itself, a trace or days, and need not be in a steady state."""
        return self.whole or self.period_s is not None

    def requests(self, asked: int, amount: float) -> int:
        """Requests of a run that asks for so many: whole periods."""
        if self.period_s is None:
            return asked
        each = amount * self.period_s
        return max(1, round(max(1, round(asked / each)) * each))

    def text(self, amount: float) -> str:
        """An amount in words."""
        return f"{amount:g} user{'' if amount == 1 else 's'}" if self.key == USERS else f"{amount:g}/s"


#: one request a second
ONE_A_SECOND = Load(RATE, 1.0, "")


def load_of(scenario: Scenario, by: str = PRESSED) -> Load:
    """See what a scenario asks for; `by` says how a trace comes faster. InputError for what has no one amount."""
    workload = scenario.workload
    if isinstance(workload, SyntheticWorkload) and workload.classes_arrive:
        parts = [_rate_of(each.arrivals) for each in workload.classes if each.arrivals is not None]
        if any(period is not None for _, period in parts):
            raise InputError(
                f"{scenario.where('workload', 'classes')}classes whose rates change have days of their own; "
                "a plan needs one for all"
            )
        return Load(RATE, sum(rate for rate, _ in parts), "the rates of all classes are scaled alike")
    arrivals = getattr(workload, "arrivals", None)
    if arrivals is None:
        return _of_file(scenario, by)
    of_file = not isinstance(workload, SyntheticWorkload)
    if arrivals.concurrency is not None:
        what = "users, each with one request or conversation at a time, are more or fewer"
        return Load(USERS, float(arrivals.concurrency), what, whole=of_file, given=of_file)
    rate_per_s, period_s = _rate_of(arrivals)
    what = "the rate of conversations is scaled" if getattr(workload, "sessions", None) else "the rate is scaled"
    return Load(RATE, rate_per_s, what, None if of_file else period_s, whole=of_file)


def _rate_of(arrivals: ArrivalsTable) -> tuple[float, float | None]:
    """Mean rate of a process, and the period of a rate that changes through it; bursts are noise to a plan."""
    process = arrival_process(arrivals.process, **arrivals.options)
    period_s = None if process.steady else process.repeats_s
    if "rate_per_s" in arrivals.options:
        return float(arrivals.options["rate_per_s"]), period_s
    times_s = process.times_s(np.random.default_rng(0), COUNTED)
    if period_s is not None:
        days = int(times_s[-1] / period_s)
        return float((times_s < days * period_s).sum()) / (days * period_s), period_s
    return COUNTED / float(times_s[-1]), None


def _of_file(scenario: Scenario, by: str) -> Load:
    arrival_s = make_workload(scenario, streams(scenario.seed)).arrival_s
    length_s = float(np.ptp(arrival_s)) if len(arrival_s) > 1 else 0.0
    how = by if isinstance(scenario.workload, TraceWorkload) else CLIENTS
    if length_s <= 0:
        raise InputError(f"{scenario.where('workload')}all requests arrive at once: there is no rate to plan for")
    told = f"{len(arrival_s):,} requests over {length_s:,.0f} s; other rates: {_MADE_FASTER[how]}"
    drawn = how != PRESSED
    return Load(RATE, (len(arrival_s) - 1) / length_s, told, whole=True, given=not drawn, by=how)


def with_load(scenario: Scenario, load: Load, amount: float, requests: int, seed: int) -> Scenario:
    """Return the experiment that asks for so much, of so many requests; a trace keeps those that it has."""
    workload: Any = scenario.workload
    factor = amount / load.amount
    changed: dict[str, Any] = {}
    if getattr(workload, "classes_arrive", False):
        classes = (each.model_copy(update={"arrivals": _scaled(each.arrivals, factor)}) for each in workload.classes)
        changed["classes"] = tuple(classes)
    elif getattr(workload, "arrivals", None) is not None:
        changed["arrivals"] = _with_users(workload, amount) if load.key == USERS else _scaled(workload.arrivals, factor)
    elif load.by == SUPERPOSED:
        changed["superpose"] = workload.superpose * factor
    else:
        changed["rate_scale"] = workload.rate_scale * factor
    until_s = scenario.until_s
    if isinstance(workload, SyntheticWorkload):
        changed["requests"] = load.requests(requests, amount)
        until_s = None if until_s is None else until_s * max(1.0, requests / workload.requests)
    return scenario.model_copy(
        update={"seed": seed, "until_s": until_s, "workload": workload.model_copy(update=changed)}
    )


def _with_users(workload: Any, amount: float) -> ArrivalsTable:
    made: ArrivalsTable = workload.arrivals.model_copy(update={"concurrency": int(amount)})
    return made


def _scaled(arrivals: ArrivalsTable | None, factor: float) -> ArrivalsTable | None:
    """The same process with so many times the rate; its days and bursts keep their lengths."""
    if arrivals is None:
        return None
    if "rates_per_s" in arrivals.options:
        rates = tuple(factor * rate for rate in arrivals.options["rates_per_s"])
        return arrivals.model_copy(update={"rates_per_s": rates})
    rate_per_s = factor * arrivals.options["rate_per_s"]
    return arrivals.model_copy(update={"rate_per_s": rate_per_s if factor != 1 else arrivals.options["rate_per_s"]})


def phase_rates(scenario: Scenario, load: Load, phases: int) -> list[float]:
    """Mean rate in each phase of a load's period, to three digits, by the process itself over many periods."""
    assert load.period_s is not None
    workload: Any = scenario.workload
    process = arrival_process(workload.arrivals.process, **workload.arrivals.options)
    times_s = process.times_s(np.random.default_rng(0), PHASE_REQUESTS * phases)
    days = max(1, int(times_s[-1] / load.period_s))
    within = times_s[times_s < days * load.period_s] % load.period_s
    counts, _ = np.histogram(within, phases, (0.0, load.period_s))
    return [float(f"{count / days * phases / load.period_s:.3g}") for count in counts.tolist()]


def steady_at(scenario: Scenario, rate_per_s: float) -> Scenario:
    """Return the scenario with Poisson arrivals at one rate."""
    workload: Any = scenario.workload
    arrivals = ArrivalsTable.of("poisson", rate_per_s=rate_per_s)
    return scenario.model_copy(update={"workload": workload.model_copy(update={"arrivals": arrivals})})
