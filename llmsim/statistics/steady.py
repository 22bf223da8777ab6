"""May a run speak of a steady state? `steady`, `overloaded`, `too short` or `nothing served`, and the evidence.

`nothing served` is of runs in which no request was worked on, or every one was given up.

The hard case is a load near capacity. There the number waiting does a random walk that cannot go below 0 (Kingman 1962:
reflected Brownian motion), growing without bound just above capacity and wandering for very long just below it. Both
claims are therefore held against that walk at exactly full load, the borderline between them:

* `overloaded`: the queue's growth, by batch means of its increments, is beyond the 99.9 % point of Student's t. The
  walk's end is distributed as the absolute value of what the test supposes, so that at full load twice as many pass.
* `steady`: what waits returns to its middle often enough: the effective sample size of its batch means, by their ranks
  (services with a heavy tail make a few batches so large that nothing else counts), is `LEAST_INDEPENDENT` or more. A
  walk at full load has about 4, however long it is, and reaches 20 in one run of 200; a growing queue, fewer.

In between, and wherever the run is not many times longer than a request is in the system, it is `too short`.

A load that repeats itself fills and empties the queue once a period, which would hide how it wanders: batches then span
whole periods, known from the scenario, or found in the arrivals (of a trace); with fewer periods than independent
batches are needed, the run is too short. Clients of a closed loop wait for each other: no queue of theirs grows for
ever, and they are only asked whether what waits returns to its mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.statistics.intervals import Floats, student_t
from llmsim.statistics.series import (
    independent_batches,
    mser5,
    number_at,
    ranks,
    standard_error,
    time_averages,
)

STEADY, OVERLOADED, TOO_SHORT, UNSERVED = "steady", "overloaded", "too short", "nothing served"

#: effective sample size that batch means must have; see the module
LEAST_INDEPENDENT = 20.0
BATCHES = 64
#: fewer requests leave a P99 without an upper end at 95 %: 0.99^n > 0.025 for n < 368
LEAST_REQUESTS = 368
#: service times (length-biased, as met at a random time) that a run must last after warm-up to be steady
LEAST_SERVICE_TIMES = 10.0
#: mean service times that pass before growth is looked for
SKIPPED_SERVICE_TIMES = 2.0
#: the queue's growth is measured over so many batches; a coarse one lasts a mean service time or more
FINE_BATCHES, COARSE_BATCHES = 20, 5
#: chance of calling a load at capacity overloaded; one side
FALSE_ALARM = 1e-3
#: standard deviation / mean up to which the number in service is level, so that only the queue can grow
LEVEL_CV = 0.1
#: no more than this is said of how much longer a run should be
MOST_TIMES_AS_LONG = 100.0
BINS = 800  #: for the warm-up; 160 of MSER-5's means of five
ROUNDING = 1e-9  #: of a number of periods
#: chance of finding a period in arrivals that have none
FALSE_PERIOD = 1e-4
PERIOD_BINS, AROUND = 4096, 20  #: counts that are looked through for it, and lines around one, at the least


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What is known of arrivals before any of them comes."""

    period_s: float | None = None  #: after which the rate repeats itself; None: it has none
    known: bool = False  #: whether `period_s` is all there is to know; else a period is looked for in the arrivals
    closed: bool = False  #: each client waits for its answer before it asks again, so that no queue grows for ever


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run may say, why, and what that rests on."""

    answer: str  #: `STEADY`, `OVERLOADED`, `TOO_SHORT` or `UNSERVED`
    reason: str  #: one sentence
    evidence: Mapping[str, float | int | None]

    @property
    def steady(self) -> bool:
        """Whether percentiles of the run describe a steady state."""
        return self.answer == STEADY


UNKNOWN = Arrivals()


def judge(
    arrival_s: Floats,
    scheduled_s: Floats,
    end_s: Floats,
    *,
    span_s: tuple[float, float] | None = None,
    utilisation: float | None = None,
    arrivals: Arrivals = UNKNOWN,
    given_up: bool = False,
) -> Verdict:
    """Judge a run by its requests, (N,) each; O(N log N).

    `scheduled_s` is when a request was first worked on, NaN for never; `end_s` when it left the system. `span_s` is the
    time looked at (left out: first to last arrival); `utilisation` the busy share of the instances in it; `arrivals`
    what is known of them beforehand; `given_up` whether each of them ended without being finished.
    """
    served = ~np.isnan(scheduled_s)
    waiting_until_s = np.where(served, scheduled_s, end_s)
    start_s, stop_s = span_s or _span(arrival_s)
    if len(served) and not served.any():
        return Verdict(UNSERVED, f"not one of {len(served):,} requests was worked on", {})
    if given_up:
        return Verdict(UNSERVED, f"not one of {len(served):,} requests was finished: all were given up", {})
    period_s = arrivals.period_s if arrivals.known or arrivals.closed else period_of(arrival_s, start_s, stop_s)
    times = _service_times(end_s - waiting_until_s)
    run = _Run(arrival_s, waiting_until_s, end_s, served, start_s, stop_s, *times, period_s, arrivals.closed)
    if run.length_s <= 0:
        return Verdict(TOO_SHORT, "all requests arrive at once: there is no time over which to judge", {})
    growth = _growth(run)
    warm_up_s, independent = _independence(run)
    evidence = {
        "requests": int(run.counted(warm_up_s).sum()),
        "warm_up_s": warm_up_s,
        "periods": run.periods(warm_up_s),
        "independent_batches": independent,
        **growth.to_dict(),
        "utilisation": utilisation,
        "stay_in_service_s": run.mean_service_s,
        "waiting_at_last_arrival": int(number_at(arrival_s, waiting_until_s, np.array([stop_s]))[0]),
        "drain_s": max(0.0, float(end_s.max()) - float(arrival_s.max())),
    }
    evidence["times_as_long"] = _times_as_long(run, growth, evidence)
    return _verdict(run, growth, evidence)


def period_of(arrival_s: Floats, start_s: float, stop_s: float) -> float | None:
    """The period of a load that repeats itself, in seconds; None where none stands out. O(N).

    The highest line of the periodogram of the counts of arrivals, if one of so many would hardly be as far above the
    lines around it by chance (Fisher 1929, for lines that are exponential, as those of any noise are).
    """
    counts, _ = np.histogram(arrival_s, PERIOD_BINS, (start_s, stop_s)) if stop_s > start_s else (np.zeros(1), None)
    power = np.abs(np.fft.rfft(counts - counts.mean())[1:]) ** 2
    if len(power) < 2 or not power.any():
        return None
    line = int(np.argmax(power))
    around = np.median(power[max(0, line // 2) : 2 * line + AROUND]) / math.log(2)
    chance = len(power) * math.exp(-power[line] / around) if around > 0 else 0.0
    return (stop_s - start_s) / (line + 1) if chance < FALSE_PERIOD else None


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    arrival_s: Floats
    waiting_until_s: Floats
    end_s: Floats
    served: NDArray[np.bool_]
    start_s: float
    stop_s: float
    mean_service_s: float  #: mean time in service
    met_service_s: float  #: the same of those met in service at a random time: how long the number in service remembers
    period_s: float | None  #: after which the load repeats itself
    closed: bool

    @property
    def length_s(self) -> float:
        return self.stop_s - self.start_s

    def periods(self, warm_up_s: float = 0.0) -> float | None:
        """How many periods it lasts after warm-up; None without any."""
        return None if self.period_s is None else (self.length_s - warm_up_s) / self.period_s

    def edges_s(self, least_s: float, batches: int) -> Floats:
        """Edges of at most so many equal batches until the end, of whole periods each, that begin `least_s` or later.

        Fewer batches where there are fewer periods; one edge where there is none.
        """
        if self.period_s is None:
            return np.linspace(least_s, self.stop_s, batches + 1)
        periods = int((self.stop_s - least_s) / self.period_s + ROUNDING)
        each = -(-periods // batches)
        count = periods // each if each else 0
        return self.stop_s - self.period_s * each * np.arange(count, -1, -1.0)

    def counted(self, warm_up_s: float) -> NDArray[np.bool_]:
        return (self.arrival_s >= self.start_s + warm_up_s) & (self.arrival_s <= self.stop_s)


@dataclass(frozen=True, slots=True)
class _Growth:
    """Growth of the number that waits, over `batches` batches; 0 batches: too short to measure it."""

    per_s: float = math.nan
    error_per_s: float = math.nan  #: standard error
    batches: int = 0

    @property
    def certain(self) -> bool:
        """The queue grows, by more than a walk at full load would."""
        if not self.batches or self.per_s <= 0:
            return False
        return self.per_s > student_t(1 - FALSE_ALARM, self.batches - 1) * self.error_per_s

    def to_dict(self) -> dict[str, float | None]:
        known = self.batches > 0
        return {
            "growth_per_s": self.per_s if known else None,
            "growth_standard_error_per_s": self.error_per_s if known else None,
        }


def _span(arrival_s: Floats) -> tuple[float, float]:
    return (float(arrival_s.min()), float(arrival_s.max())) if len(arrival_s) else (0.0, 0.0)


def _service_times(service_s: Floats) -> tuple[float, float]:
    """Mean of the times in service, and their mean weighted by themselves (the inspection paradox)."""
    total_s = float(service_s.sum())
    return (total_s / len(service_s), float((service_s**2).sum()) / total_s) if total_s > 0 else (0.0, 0.0)


def _growth(run: _Run) -> _Growth:
    """Growth of the queue after the start-up, with the larger of the errors that fine and coarse batches give.

    Increments of a walk are independent where its values are not: that is what makes their error honest. They are so
    over times in which the requests in service change; shorter batches only serve to know their spread better.
    """
    length_s = run.length_s - SKIPPED_SERVICE_TIMES * run.mean_service_s
    coarse = min(FINE_BATCHES, int(length_s / run.mean_service_s)) if run.mean_service_s > 0 else FINE_BATCHES
    if coarse < COARSE_BATCHES:
        return _Growth()
    edges_s = run.edges_s(run.stop_s - length_s, FINE_BATCHES)
    fine = (len(edges_s) - 1) // COARSE_BATCHES * COARSE_BATCHES
    if fine < COARSE_BATCHES:
        return _Growth()
    edges_s = edges_s[-fine - 1 :]
    queue = number_at(run.arrival_s, run.waiting_until_s, edges_s)
    errors = [standard_error(np.diff(queue)), standard_error(np.diff(queue[:: fine // COARSE_BATCHES]))]
    growth, length_s = queue[-1] - queue[0], float(edges_s[-1] - edges_s[0])
    # the error of the sum of b increments is b times that of their mean
    error = max(b * e for b, e in zip((fine, COARSE_BATCHES), errors, strict=True))
    return _Growth(growth / length_s, error / length_s, fine)


def _independence(run: _Run) -> tuple[float, float]:
    """Warm-up in seconds from the start, and the effective sample size of the batch means after it."""
    edges_s = np.linspace(run.start_s, run.stop_s, BINS + 1)
    warm_up_s = run.length_s * mser5(time_averages(run.arrival_s, run.end_s, edges_s)) / BINS
    edges_s = run.edges_s(run.start_s + warm_up_s, BATCHES)
    if len(edges_s) < 3:
        return warm_up_s, 0.0
    present = time_averages(run.arrival_s, run.end_s, edges_s)
    waiting = time_averages(run.arrival_s, run.waiting_until_s, edges_s)
    serving = present - waiting
    level = serving.std() <= LEVEL_CV * serving.mean()
    return warm_up_s, independent_batches(ranks(waiting if level else present))


def _times_as_long(run: _Run, growth: _Growth, evidence: Mapping[str, float | int | None]) -> float:
    """So many times as long a run would have what a steady one needs, if it went on like this; 1: it has it already.

    A queue that seems to grow has few independent batches however long it is watched: twice as long shows whether.
    """
    warm_up_s = float(evidence["warm_up_s"] or 0)
    has = [int((run.counted(warm_up_s) & run.served).sum()) / LEAST_REQUESTS]
    grows = growth.batches > 0 and growth.per_s > growth.error_per_s
    independent = float(evidence["independent_batches"] or 0) / LEAST_INDEPENDENT
    has.append(max(independent, 0.5) if grows else independent)
    if run.met_service_s > 0:
        has.append((run.length_s - warm_up_s) / run.met_service_s / LEAST_SERVICE_TIMES)
    if (periods := run.periods(warm_up_s)) is not None:
        has.append(periods / LEAST_INDEPENDENT)
    return min(MOST_TIMES_AS_LONG, max(1.0, 1 / max(min(has), 1e-9)))


def _verdict(run: _Run, growth: _Growth, evidence: dict[str, float | int | None]) -> Verdict:
    independent, warm_up_s = float(evidence["independent_batches"] or 0), float(evidence["warm_up_s"] or 0)
    lasts = (run.length_s - warm_up_s) / run.met_service_s if run.met_service_s > 0 else math.inf
    served = int((run.counted(warm_up_s) & run.served).sum())
    if served < LEAST_REQUESTS:
        rejected = "" if served == evidence["requests"] else f" of {evidence['requests']} were served"
        lack = f"{served} requests{rejected} after warm-up, where a P99 needs {LEAST_REQUESTS}"
    elif growth.certain and not run.closed:
        return Verdict(
            OVERLOADED,
            f"the queue grows by {growth.per_s:.3g} requests/s (± {growth.error_per_s:.2g}); "
            f"{evidence['waiting_at_last_arrival']:,} wait at the last arrival",
            evidence,
        )
    elif lasts < LEAST_SERVICE_TIMES:
        lack = f"after warm-up it lasts {lasts:.1f} service times, where {LEAST_SERVICE_TIMES:g} are needed"
    elif (periods := run.periods(warm_up_s)) is not None and periods < LEAST_INDEPENDENT:
        lack = f"after warm-up it lasts {periods:.1f} periods of its load, where {LEAST_INDEPENDENT:g} are needed"
    elif independent < LEAST_INDEPENDENT:
        lack = f"its queue's effective sample size is {independent:.1f} batches, where {LEAST_INDEPENDENT:g} are needed"
    else:
        return Verdict(
            STEADY, f"its queue's effective sample size is {independent:.0f} batches, and it does not grow", evidence
        )
    return Verdict(TOO_SHORT, lack, evidence)
