"""How often verdicts are wrong: single servers of many kinds of load, below and above capacity, judged."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmsim.record import Floats
from llmsim.statistics import OVERLOADED, STEADY, Arrivals, judge
from llmsim.workload.arrivals.diurnal import Diurnal
from llmsim.workload.arrivals.gamma import Gamma
from llmsim.workload.arrivals.on_off import OnOff
from llmsim.workload.arrivals.poisson import Poisson

#: mean service takes a second, so that these are arrivals per second
LOADS = (0.5, 0.8, 0.9, 0.95, 1.02, 1.05, 1.1, 1.3)
REQUESTS = (1_000, 10_000, 100_000)
ON_S, OFF_S, DAY_S = 60.0, 120.0, 1_000.0
AMPLITUDE = 0.6
#: coefficient of variation of services with a heavy tail (lognormal)
HEAVY_CV = 4.0
#: clients of a closed loop, each of which thinks for a while after each answer
CLIENTS = 20


def _drawn(process: Any, known: Arrivals) -> Callable[[float, np.random.Generator, int], tuple[Floats, Arrivals]]:
    """Arrivals of a process at a load, with what a scenario says of them."""
    return lambda load, rng, n: (process(load).times_s(rng, n), known)


#: family -> arrivals, at a load, and what is known of them
FAMILIES: Mapping[str, Callable[[float, np.random.Generator, int], tuple[Floats, Arrivals]]] = {
    "Poisson": _drawn(Poisson, Arrivals(known=True)),
    "gamma": _drawn(lambda load: Gamma(load, burstiness=0.25), Arrivals(known=True)),
    "on-off": _drawn(lambda load: OnOff(load, ON_S, OFF_S), Arrivals(ON_S + OFF_S, known=True)),
    "diurnal": _drawn(lambda load: Diurnal(load, AMPLITUDE, DAY_S, DAY_S / 2), Arrivals(DAY_S, known=True)),
    "heavy tails": _drawn(Poisson, Arrivals(known=True)),
    "trace": lambda load, rng, n: (OnOff(load, ON_S, OFF_S).times_s(rng, n), Arrivals()),
}
CLOSED_LOOP = "closed loop"


@dataclass(frozen=True, slots=True)
class Judged:
    """What runs of one family, load and length were called."""

    family: str
    load: float
    requests: int
    runs: int
    steady: int
    overloaded: int

    @property
    def wrong(self) -> int:
        """Runs called what they are not; a closed loop slows down with its server, and is never overloaded."""
        below = self.load < 1 or self.family == CLOSED_LOOP
        return self.overloaded if below else self.steady

    @property
    def right(self) -> int:
        """Runs called what they are."""
        return self.steady + self.overloaded - self.wrong

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        names = ("family", "load", "requests", "runs", "steady", "overloaded", "right", "wrong")
        return {name: getattr(self, name) for name in names}


def verdicts(
    runs: int, *, requests: Sequence[int] = REQUESTS, progress: Callable[[int, int], None] | None = None
) -> list[Judged]:
    """Judge so many runs of every family, load and length."""
    families = (*FAMILIES, CLOSED_LOOP)
    rows: list[Judged] = []
    for i, family in enumerate(families):
        for load in LOADS:
            rows += (_judged(family, load, n, runs) for n in requests)
        if progress is not None:
            progress(i + 1, len(families))
    return rows


def _judged(family: str, load: float, requests: int, runs: int) -> Judged:
    rng = np.random.default_rng([len(family), int(100 * load), requests])
    answers = [answer for _ in range(runs) for answer in _answers(family, load, requests, rng)]
    return Judged(family, load, requests, len(answers), answers.count(STEADY), answers.count(OVERLOADED))


def _answers(family: str, load: float, requests: int, rng: np.random.Generator) -> Iterator[str]:
    if family == CLOSED_LOOP:
        if requests > 10_000:
            return  # one by one, in Python
        arrival_s, start_s, end_s = closed_loop(load, rng, requests)
        known = Arrivals(closed=True)
    else:
        arrival_s, known = FAMILIES[family](load, rng, requests)
        service_s = _services_s(family, rng, requests)
        worked_s = np.cumsum(service_s)
        end_s = worked_s + np.maximum.accumulate(arrival_s - (worked_s - service_s))
        start_s = end_s - service_s
    yield judge(arrival_s, start_s, end_s, arrivals=known).answer


def _services_s(family: str, rng: np.random.Generator, requests: int) -> Floats:
    if family != "heavy tails":
        return rng.exponential(1.0, requests)
    spread = np.log(1 + HEAVY_CV**2)
    return rng.lognormal(-spread / 2, np.sqrt(spread), requests)


def closed_loop(load: float, rng: np.random.Generator, requests: int) -> tuple[Floats, Floats, Floats]:
    """Clients of one server that think for an exponential time; `load` is what they would ask for, never waiting."""
    thinking_s = rng.exponential(CLIENTS / load, requests + CLIENTS)
    service_s = rng.exponential(1.0, requests)
    ready_s = thinking_s[:CLIENTS].tolist()
    heapq.heapify(ready_s)
    out = np.empty((3, requests))
    free_s = 0.0
    for i in range(requests):
        came_s = heapq.heappop(ready_s)
        start_s = max(came_s, free_s)
        free_s = start_s + service_s[i]
        out[:, i] = came_s, start_s, free_s
        heapq.heappush(ready_s, free_s + thinking_s[CLIENTS + i])
    return out[0], out[1], out[2]
