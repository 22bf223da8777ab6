"""How often intervals cover: queues whose truth is known, and a scenario, simulated again and again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import numpy as np

from llmsim import experiment
from llmsim.metrics.distributions import Distributions, interval
from llmsim.record import Floats
from llmsim.scenario import load_scenario
from llmsim.statistics.samples import sample_of
from llmsim.statistics.shares import share_of

LOADS, REQUESTS, SEEDS = (0.3, 0.7, 0.9), (1_000, 10_000), (5, 10)
#: shares of requests within the bound, by the name of its row
ATTAINMENTS = {"attainment 0.99": 0.99, "attainment 0.999": 0.999}
#: a reader's patience in service times, and benefit lost for each beyond it
PATIENCE_S, ALPHA = 2.0, 0.1
ROUNDING = 1e-12
#: requests that are simulated at once, side by side
MOST_AT_ONCE = 2_000_000
#: the scenario, and how many requests its runs of each length have together
SCENARIO, POOL = "quickstart", 1_000_000
#: share of a run's requests, the first and the last, that tell nothing of its steady state
EDGE = 0.1
#: numbers by what they are called in a score
KEYS = dict.fromkeys(ATTAINMENTS, "slo.attainment") | {
    "goodput": "slo.goodput_requests_per_s",
    "smooth goodput": "smooth_goodput_tokens_per_s",
}

#: values of a run's numbers, and what it keeps for their intervals
Kept = tuple[dict[str, float], dict[str, Distributions]]


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue with Poisson arrivals, one a second, and its sojourn's distribution in closed form."""

    name: str
    exponential: bool  #: service times; False: constant
    load: float

    def sojourns_s(self, rng: np.random.Generator, requests: int, runs: int) -> tuple[Floats, Floats]:
        """Arrivals and sojourns of runs that begin empty, (runs, requests) each, by Lindley's recursion."""
        gaps_s = rng.exponential(1.0, (requests, runs))
        service_s = rng.exponential(self.load, (requests, runs)) if self.exponential else self.load
        out = np.empty((requests, runs))
        waits_s = np.zeros(runs)
        for i in range(requests):
            took_s = service_s[i] if self.exponential else np.full(runs, self.load)  # type: ignore[index]
            out[i] = waits_s + took_s
            waits_s = np.maximum(0.0, out[i] - gaps_s[i])
        return np.cumsum(gaps_s, axis=0).T, out.T

    def beyond(self, at_s: float) -> float:
        """Share of sojourns longer than this."""
        if self.exponential:
            return math.exp(-at_s * (1 / self.load - 1))
        return 1 - self._waits_at_most(at_s - self.load) if at_s >= self.load else 1.0

    def _waits_at_most(self, wait_s: float) -> float:
        """Erlang's series for M/D/1 (1909); its terms alternate and are huge, so that they are added with 60 digits."""
        with localcontext(prec=60):
            service, waited = Decimal(self.load), Decimal(wait_s)
            terms = (
                (k * service - waited) ** k / math.factorial(k) * (waited - k * service).exp()
                for k in range(1, int(wait_s / self.load) + 1)
            )
            return (1 - self.load) * float(sum(terms, waited.exp()))

    def quantile_s(self, share: float) -> float:
        """The sojourn that this share does not exceed; by bisection."""
        if not self.exponential and self.beyond(self.load) <= 1 - share:
            return self.load  # the share that does not wait
        low, high = self.load if not self.exponential else 0.0, 100 * self.load
        while self.exponential and self.beyond(high) > 1 - share:
            high *= 2
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.beyond(middle) > 1 - share else (low, middle)
        return high

    def mean_s(self) -> float:
        """Mean sojourn: Pollaczek and Khinchine."""
        squared = 2 if self.exponential else 1
        return self.load + self.load**2 * squared / 2 / (1 - self.load)

    def mean_excess_s(self) -> float:
        """Mean of what sojourns exceed the reader's patience by."""
        beyond = self.mean_s() - PATIENCE_S * self.load
        at_s = np.linspace(0.0 if self.exponential else self.load, PATIENCE_S * self.load, 401)
        within = np.array([1 - self.beyond(float(t)) for t in at_s])
        return beyond + float(np.trapezoid(within, at_s))


@dataclass(frozen=True, slots=True)
class Covered:
    """How often the interval of one number covered, and how often there was one."""

    queue: str
    load: float | None  #: share of its capacity; None: of the scenario, as it is
    requests: int
    seeds: int
    number: str
    repetitions: int
    answered: int
    covering: int

    @property
    def coverage(self) -> float | None:
        """Share of the intervals given that cover; None where none was given."""
        return self.covering / self.answered if self.answered else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        names = ("queue", "load", "requests", "seeds", "number", "repetitions", "answered")
        return {**{name: getattr(self, name) for name in names}, "coverage": self.coverage}


def coverage(
    repetitions: int,
    *,
    requests: Sequence[int] = REQUESTS,
    pool: int = POOL,
    progress: Callable[[int, int], None] | None = None,
) -> list[Covered]:
    """Simulate each queue so often with each number of requests and seeds, and count. A row for every number.

    `pool` is how many requests the scenario's runs of each length have, from which its repetitions are drawn.
    """
    queues = [Queue(name, name == "M/M/1", load) for name in ("M/M/1", "M/D/1") for load in LOADS]
    rows: list[Covered] = []
    for i, queue in enumerate(queues):
        for n in requests:
            rows += _of_queue(queue, n, repetitions)
        if progress is not None:
            progress(i + 1, len(queues) + 1)
    rows += of_scenario(repetitions, requests, pool)
    if progress is not None:
        progress(len(queues) + 1, len(queues) + 1)
    return rows


def _of_queue(queue: Queue, requests: int, repetitions: int) -> Iterator[Covered]:
    """Both numbers of seeds: the fewer are the first of the more."""
    rng = np.random.default_rng([int(10 * queue.load), requests, queue.exponential])
    truths = _truths(queue)
    counts = Counts(queue.name, queue.load, requests, truths)
    bounds_s = {name: queue.quantile_s(share) for name, share in ATTAINMENTS.items()}
    at_once = max(1, MOST_AT_ONCE // (max(SEEDS) * requests))
    for done in range(0, repetitions, at_once):
        some = min(at_once, repetitions - done)
        arrivals_s, sojourns_s = queue.sojourns_s(rng, requests, some * max(SEEDS))
        runs = [kept_of(a, s, bounds_s, queue.load) for a, s in zip(arrivals_s, sojourns_s, strict=True)]
        for first in range(0, len(runs), max(SEEDS)):
            counts.add(runs[first : first + max(SEEDS)])
    yield from counts.rows()


class Counts:
    """How often the intervals of one queue and length cover what is true."""

    def __init__(self, queue: str, load: float | None, requests: int, truths: Mapping[str, float]) -> None:
        """Begin with none."""
        self._place, self._truths = (queue, load, requests), truths
        self._counts = {(seeds, name): [0, 0] for seeds in SEEDS for name in truths}
        self._repetitions = 0

    def add(self, runs: Sequence[Kept]) -> None:
        """Take the intervals of as many runs as `SEEDS` asks for at the most, and of the first of them."""
        self._repetitions += 1
        for (seeds, name), count in self._counts.items():
            values, kept = [run[0][name] for run in runs[:seeds]], [run[1][name] for run in runs[:seeds]]
            found = interval(KEYS.get(name, name), values, kept)
            count[0] += found.bounded
            count[1] += found.bounded and found.low - ROUNDING <= self._truths[name] <= found.high + ROUNDING

    def rows(self) -> Iterator[Covered]:
        """A row for every number."""
        for (seeds, name), (answered, covering) in self._counts.items():
            yield Covered(*self._place, seeds, name, self._repetitions, answered, covering)


def of_scenario(repetitions: int, requests: Sequence[int], pool: int) -> Iterator[Covered]:
    """A scenario, whose truth is that of all its longest runs together, without the edges of each.

    Repetitions draw their runs from the pool, with replacement: they are independent, of the pool's distribution.
    """
    pools = {n: [_served(seed, n) for seed in range(max(pool // n, *SEEDS))] for n in sorted(requests)}
    longest = pools[max(requests)]
    edge = int(EDGE * max(requests))
    steady_s = np.concatenate([times_s[edge:-edge] for _, times_s in longest])
    rate_per_s = float(np.mean([(len(times_s) - 1) / np.ptp(arrival_s) for arrival_s, times_s in longest]))
    unit_s = float(steady_s.mean()) / PATIENCE_S
    bounds_s = {name: float(np.quantile(steady_s, share)) for name, share in ATTAINMENTS.items()}
    truths = {
        "e2e_s.mean": float(steady_s.mean()),
        "e2e_s.p50": float(np.median(steady_s)),
        "e2e_s.p99": float(np.quantile(steady_s, 0.99)),
        **ATTAINMENTS,
        "goodput": rate_per_s * ATTAINMENTS["attainment 0.99"],
        "smooth goodput": rate_per_s * float(_benefit(steady_s, unit_s).mean()),
    }
    for n, served in pools.items():
        runs = [kept_of(arrival_s, times_s, bounds_s, unit_s) for arrival_s, times_s in served]
        counts, rng = Counts(SCENARIO, None, n, truths), np.random.default_rng(n)
        for _ in range(repetitions):
            counts.add([runs[i] for i in rng.integers(len(runs), size=max(SEEDS))])
        yield from counts.rows()


def _served(seed: int, requests: int) -> tuple[Floats, Floats]:
    """Arrivals and E2E times of one run of the scenario, (requests,) each."""
    record = experiment.run(load_scenario(SCENARIO, [f"seed={seed}", f"workload.requests={requests}"])).record
    arrival_s: Floats = record.requests["arrival_s"]
    return arrival_s, record.requests["end_s"] - arrival_s


def _truths(queue: Queue) -> dict[str, float]:
    return {
        "e2e_s.mean": queue.mean_s(),
        "e2e_s.p50": queue.quantile_s(0.5),
        "e2e_s.p99": queue.quantile_s(0.99),
        **ATTAINMENTS,
        "goodput": ATTAINMENTS["attainment 0.99"],
        "smooth goodput": 1 - ALPHA * queue.mean_excess_s() / queue.load,
    }


def _benefit(sojourns_s: Floats, unit_s: float) -> Floats:
    found: Floats = 1 - ALPHA * np.maximum(sojourns_s / unit_s - PATIENCE_S, 0.0)
    return found


def kept_of(arrivals_s: Floats, sojourns_s: Floats, bounds_s: Mapping[str, float], unit_s: float) -> Kept:
    """Values of a run's numbers, and what it keeps for their intervals; each attainment has a bound of its own."""
    sample = sample_of(sojourns_s)
    assert sample is not None
    met = {name: sojourns_s <= bound_s for name, bound_s in bounds_s.items()}
    plain = Distributions({"e2e_s": sample}, None)
    duration_s = float(arrivals_s[-1] - arrivals_s[0])
    values = {
        "e2e_s.mean": float(sojourns_s.mean()),
        "e2e_s.p50": float(np.median(sojourns_s)),
        "e2e_s.p99": float(np.quantile(sojourns_s, 0.99)),
        **{name: float(good.mean()) for name, good in met.items()},
        "goodput": float(met["attainment 0.99"].sum()) / duration_s,
        "smooth goodput": float(_benefit(sojourns_s, unit_s).sum()) / duration_s,
    }
    of_share = {name: Distributions({"e2e_s": sample}, share_of(good)) for name, good in met.items()}
    return values, {name: of_share.get(name, plain) for name in values}
