"""Intervals from one run on each side: the same blocks of requests resampled on both.

Requests of one run are not independent: they queued behind each other. Blocks of consecutive requests nearly are, where
a block is longer than the queue remembers (Künsch 1989, with blocks that do not overlap). So `BLOCKS` blocks are drawn
with replacement, the same for both sides, and the spread of the differences so resampled is their standard error. With
so few blocks Student's t stands for the normal distribution, and the variance is multiplied by b / (b - 1): for means
this is the t interval of paired batch means.

What such an interval covers: other requests of the same traffic in the same steady state, over a run as long as this.
It is not given where a run is not steady (then there is no such state), where a request was cut short, and for P99s of
fewer than `LEAST_FOR_P99` requests. Near saturation blocks remember each other, and differences are skewed: expect some
90 % rather than 95 %. Seeds are better than blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from llmsim import experiment
from llmsim.metrics import ranges, request_latency, slo, smooth_goodput
from llmsim.metrics.window import resolve
from llmsim.record import Floats, Timelines
from llmsim.request import Outcome
from llmsim.statistics import Interval
from llmsim.statistics.intervals import student_t
from llmsim.studies.compare.side_runs import Run

BLOCKS = 20
RESAMPLES = 1000
#: 20 of them lie beyond the P99, one for each block
LEAST_FOR_P99 = 2000
SHARES = {"p50": 0.50, "p90": 0.90, "p99": 0.99}
#: metric -> column of which it is the mean, up to a factor that both sides share
MEANS = {
    "slo.attainment": "attainment",
    "slo.goodput_tokens_per_s": "good_tokens",
    "slo.goodput_requests_per_s": "attainment",
    "smooth_goodput_tokens_per_s": "benefit_tokens",
}


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Resampled values of one metric on both sides, (resamples,) each."""

    first: Floats
    other: Floats
    of_one: float  #: the metric is this many times the statistic resampled

    def around(self, change: float, relative: float | None, level: float) -> tuple[Interval, Interval | None]:
        """Intervals around the difference of the runs and, if there is one, around the relative difference."""
        difference = self._around(change, self.of_one * (self.other - self.first), level)
        if relative is None or not self.first.all():
            nothing = relative == 0 and not (self.first.any() or self.other.any())
            return difference, Interval(0.0, 0.0, 0.0, level, BLOCKS) if nothing else None
        return difference, self._around(relative, (self.other - self.first) / self.first, level)

    def _around(self, estimate: float, resampled: Floats, level: float) -> Interval:
        wider = np.sqrt(BLOCKS / (BLOCKS - 1))
        half = student_t((1 + level) / 2, BLOCKS - 1) * wider * float(resampled.std())
        return Interval(estimate, estimate - half, estimate + half, level, BLOCKS)


@dataclass(frozen=True, eq=False)
class Pairs:
    """The requests of the window on both sides, a number each for every metric; request by request the same."""

    first: Mapping[str, Floats]
    other: Mapping[str, Floats]
    factor_per_s: float  #: requests / duration of the window
    known: dict[tuple[int, str], Floats] = field(default_factory=dict)

    @classmethod
    def of(cls, first: Run, other: Run) -> Pairs | None:
        """None where resampling is not valid; see the module."""
        spans = [resolve(experiment.make_window(run.scenario), run.delivered) for run in (first, other)]
        counted = spans[0].counted
        if not (first.steady and other.steady and np.array_equal(counted, spans[1].counted)):
            return None
        if spans[0].duration_s != spans[1].duration_s or spans[0].duration_s <= 0:
            return None
        mine, theirs = (_columns(run, ranges.select(run.delivered, counted), counted) for run in (first, other))
        return cls(mine, theirs, float(counted.sum()) / spans[0].duration_s)

    def blocks(self, metric: str) -> Blocks | None:
        """Resample a metric; None for one that is no statistic of single requests, and where values are missing."""
        part, _, statistic = metric.rpartition(".")
        column = MEANS.get(metric, part)
        if column not in self.first or (metric not in MEANS and statistic not in ("mean", *SHARES)):
            return None
        mine, theirs = self.first[column], self.other[column]
        if column == "tpot_s":  # requests of one token have none, on either side
            several = ~(np.isnan(mine) & np.isnan(theirs))
            mine, theirs = mine[several], theirs[several]
        if len(mine) < BLOCKS or np.isnan(mine).any() or np.isnan(theirs).any():
            return None
        if statistic == "p99" and len(mine) < LEAST_FOR_P99:
            return None
        factor = self.factor_per_s if metric.endswith("_per_s") else 1.0
        if metric in MEANS or statistic == "mean":
            return Blocks(resampled_means(mine), resampled_means(theirs), factor)
        place = list(SHARES).index(statistic)
        return Blocks(self._quantiles(0, column, mine)[place], self._quantiles(1, column, theirs)[place], factor)

    def _quantiles(self, side: int, column: str, values: Floats) -> Floats:
        """All quantiles of a column at once, which costs little more than one of them."""
        if (side, column) not in self.known:
            self.known[side, column] = resampled_quantiles(values, tuple(SHARES.values()))
        return self.known[side, column]


def resampled_means(values: Floats) -> Floats:
    """Means of values (n,), each request as often as its block was drawn; (resamples,)."""
    drawn, block = _drawn(len(values)), _block_of(len(values))
    sums, sizes = np.bincount(block, values, BLOCKS), np.bincount(block, minlength=BLOCKS)
    return np.asarray((drawn * sums).sum(axis=1) / (drawn * sizes).sum(axis=1))


def resampled_quantiles(values: Floats, shares: Sequence[float]) -> Floats:
    """Quantiles of values (n,), each request as often as its block was drawn; (shares, resamples).

    The smallest value that the share of the requests drawn does not exceed.
    """
    drawn = _drawn(len(values))
    order = np.argsort(values, kind="stable")
    block = _block_of(len(values))[order]
    places = np.empty((len(shares), len(drawn)), dtype=np.int64)
    for i, counts in enumerate(drawn):
        through = np.cumsum(counts[block])
        places[:, i] = np.searchsorted(through, np.asarray(shares) * through[-1])
    return np.asarray(values[order][places])


def _drawn(n: int) -> Floats:
    """How often each block is in each resample, (resamples, blocks): the same for every metric and both sides."""
    rng = np.random.default_rng(n)
    return rng.multinomial(BLOCKS, np.full(BLOCKS, 1 / BLOCKS), size=RESAMPLES).astype(np.float64)


def _block_of(n: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Block of each of n requests in order of arrival, as equal in size as whole numbers allow."""
    return np.arange(n) * BLOCKS // n


def _columns(run: Run, counted: Timelines, mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> dict[str, Floats]:
    rows = ranges.layout(counted)
    user, bounds = experiment.make_user(run.scenario), experiment.make_slo(run.scenario)
    idle_s = smooth_goodput.idle_latency_s(counted, user, end_s=run.end_s)
    finished = counted.outcome == Outcome.FINISHED
    good = slo.meets(counted, bounds).astype(np.float64)
    return {
        "ttft_s": request_latency.ttft_s(counted),
        "tpot_s": request_latency.tpot_s(counted),
        "e2e_s": request_latency.e2e_s(counted),
        "queueing_s": request_latency.queueing_s(counted, run.first_scheduled_s[mask]),
        "idle_latency_s": np.maximum(idle_s, 0.0),
        "attainment": good,
        "good_tokens": good * rows.n_tokens,
        "benefit_tokens": rows.n_tokens - smooth_goodput.penalty_tokens(idle_s, rows.n_tokens, finished, user),
    }
