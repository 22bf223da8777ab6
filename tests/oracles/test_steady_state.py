"""Series, warm-up and the verdict, against processes whose answers are known: AR(1), M/M/1, walks at full load."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llmsim.statistics import (
    OVERLOADED,
    STEADY,
    TOO_SHORT,
    Arrivals,
    batch_means,
    independent_batches,
    judge,
    mean_of_series,
    mser5,
    steady,
    time_averages,
)
from llmsim.statistics.series import ranks
from llmsim.statistics.steady import LEAST_INDEPENDENT, period_of
from llmsim.studies.validation.verdicts import CLOSED_LOOP, _judged
from llmsim.workload.arrivals.diurnal import Diurnal
from llmsim.workload.arrivals.on_off import OnOff


def autoregressive(rng, n, memory):
    """AR(1) with mean 0, started in its stationary distribution."""
    out = np.empty(n)
    out[0] = rng.normal() / math.sqrt(1 - memory**2)
    for i, step in enumerate(rng.normal(size=n - 1), start=1):
        out[i] = memory * out[i - 1] + step
    return out


def single_server(rng, load, n, service_cv=1.0):
    """Arrivals, starts, ends of a single server, first come first served, mean service 1 s (Lindley)."""
    arrival_s = np.cumsum(rng.exponential(1 / load, n))
    shape = 1 / service_cv**2
    service_s = rng.gamma(shape, 1 / shape, n)
    worked_s = np.cumsum(service_s)
    end_s = worked_s + np.maximum.accumulate(arrival_s - (worked_s - service_s))
    return arrival_s, end_s - service_s, end_s


def answers(load, n, repetitions, **how):
    rng = np.random.default_rng(5)
    return [judge(*single_server(rng, load, n, **how)).answer for _ in range(repetitions)]


def test_batch_means_cover_the_mean_of_a_series_that_remembers():
    rng = np.random.default_rng(2)
    covered = np.mean([mean_of_series(autoregressive(rng, 3000, 0.8)).covers(0.0) for _ in range(300)])

    assert covered > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 300)
    naive = np.mean([abs(x.mean()) < 1.96 * x.std() / 55 for x in (autoregressive(rng, 3000, 0.8) for _ in range(100))])
    assert naive < 0.7, "a test that sees nothing"


def test_batch_means_cover_the_mean_wait_of_mm1():
    """Mean wait load / (1 - load) services."""
    rng, load = np.random.default_rng(3), 0.6
    runs = (single_server(rng, load, 40_000) for _ in range(150))
    covered = np.mean([mean_of_series((start - came)[2000:]).covers(load / (1 - load)) for came, start, _ in runs])

    assert covered > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 150)


@pytest.mark.parametrize("memory", [0.0, 0.3, 0.6])
def test_independent_batches_of_an_autoregressive_series(memory):
    """b (1 - r) / (1 + r): the large-sample worth of b values of an AR(1) process."""
    found = independent_batches(autoregressive(np.random.default_rng(1), 100_000, memory))

    assert found / 100_000 == pytest.approx((1 - memory) / (1 + memory), rel=0.03)


def test_batches_of_a_trend_or_a_walk_are_worth_next_to_nothing():
    rng = np.random.default_rng(4)
    walks = [independent_batches(ranks(batch_means(np.cumsum(rng.normal(size=6400)), 64))) for _ in range(200)]

    assert independent_batches(np.arange(64.0)) < 2
    assert np.median(walks) < 5
    assert np.mean(np.array(walks) >= LEAST_INDEPENDENT) < 0.02


def test_ranks_are_numbers_from_0_that_equals_share():
    assert ranks(np.array([3.0, 1.0, 3.0, 100.0])).tolist() == [1.5, 0.0, 1.5, 3.0]
    assert ranks(1 + 1e-13 * np.arange(5.0)).tolist() == [2.0] * 5, "rounding is no order"
    assert ranks(np.zeros(3)).tolist() == [1.0] * 3


def test_services_with_a_heavy_tail_are_judged_by_ranks(monkeypatch):
    """A few services fill whole batches: by their values, these are all that a correlation sees."""
    by_ranks = _judged("heavy tails", 0.9, 50_000, 12)
    monkeypatch.setattr(steady, "ranks", lambda values: values)
    by_values = _judged("heavy tails", 0.9, 50_000, 12)

    assert by_ranks.wrong == 0
    assert by_ranks.right >= by_values.right + 3


def test_mser5_finds_the_start_up_and_leaves_a_stationary_series_alone():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=2000)
    start_up = np.where(np.arange(2000) < 300, 8.0, 0.0)

    assert 295 <= mser5(noise + start_up) <= 320
    assert mser5(np.ones(9)) == 0
    assert np.median([mser5(rng.normal(size=2000)) for _ in range(50)]) < 400


def test_mser5_is_the_least_variance_by_its_definition():
    values = np.random.default_rng(6).normal(size=203) + np.exp(-np.arange(203) / 20) * 5
    means = values[:200].reshape(40, 5).mean(axis=1)
    by_hand = [means[cut:].var() / (40 - cut) for cut in range(21)]

    assert mser5(values) == 5 * int(np.argmin(by_hand))


def test_time_averages_by_hand():
    """One from 0 to 4, one from 1 to 2: 1, 2, 1, 1 in the first four seconds, then nobody."""
    found = time_averages(np.array([1.0, 0.0]), np.array([2.0, 4.0]), np.array([0.0, 1.0, 2.0, 4.0, 5.0]))

    assert found == pytest.approx([1, 2, 1, 0])


def test_time_averages_keep_littles_law():
    came, _, left = single_server(np.random.default_rng(0), 0.8, 2000)
    edges = np.linspace(0, left.max(), 77)

    assert time_averages(came, left, edges).mean() * left.max() == pytest.approx((left - came).sum(), rel=1e-9)


@pytest.mark.parametrize("service_cv", [0.3, 1.0, 2.0])
@pytest.mark.parametrize(("load", "right"), [(0.5, STEADY), (0.97, STEADY), (1.03, OVERLOADED), (1.5, OVERLOADED)])
def test_the_verdict_never_contradicts_itself(load, right, service_cv):
    """From 100 to 20,000 requests, below and above capacity: the right answer, or none."""
    for n in (100, 300, 1000, 3000, 20_000):
        wrong = {STEADY, OVERLOADED, TOO_SHORT} - {right, TOO_SHORT}

        assert not wrong & set(answers(load, n, 25, service_cv=service_cv)), n


@pytest.mark.parametrize(("load", "right"), [(0.5, STEADY), (0.8, STEADY), (1.1, OVERLOADED), (1.5, OVERLOADED)])
def test_long_runs_are_answered(load, right):
    assert answers(load, 30_000, 15) == [right] * 15


def test_a_load_at_capacity_is_hardly_ever_answered():
    """At exactly full load either claim would be bold: at most about 1 % of runs make one."""
    assert answers(1.0, 2000, 400).count(TOO_SHORT) >= 392


def test_equal_gaps_and_equal_work_are_judged_without_noise():
    """D/D/1: nothing waits below capacity; above, the queue grows without any spread."""
    came = np.arange(5000.0)
    below = judge(came, came, came + 0.9)
    started = np.arange(5000) * 1.1
    above = judge(came, started, started + 1.1)

    assert (below.answer, above.answer) == (STEADY, OVERLOADED)
    assert above.evidence["growth_per_s"] == pytest.approx(1 - 1 / 1.1, rel=0.01)


def test_the_drain_counts_from_the_last_arrival_wherever_the_span_ends():
    came = np.arange(11.0)

    for span_s in (None, (2.0, 5.0)):
        assert judge(came, came, came + 3.5, span_s=span_s).evidence["drain_s"] == 3.5


def test_a_start_up_is_not_taken_for_growth():
    """Many servers, long stays: the number in the system climbs for a whole stay, though nobody ever waits."""
    rng = np.random.default_rng(0)
    came = np.cumsum(rng.exponential(0.01, 3000))

    assert judge(came, came, came + 40.0).answer == TOO_SHORT


@pytest.mark.parametrize("n", [0, 1, 50])
def test_no_time_no_answer(n):
    at_once = np.zeros(n)

    assert judge(at_once, at_once, at_once + 1).answer == TOO_SHORT


def test_a_load_that_repeats_itself_is_judged_by_whole_periods():
    """On-off above capacity: without its period, the queue's return to empty in each silence looks steady."""
    rows = [
        _judged(family, load, 10_000, 12)
        for family in ("on-off", "diurnal", "trace", CLOSED_LOOP)
        for load in (0.9, 1.02, 1.1)
    ]
    assert sum(row.wrong for row in rows) == 0
    assert next(row for row in rows if (row.family, row.load) == ("on-off", 1.1)).right >= 6
    assert next(row for row in rows if (row.family, row.load) == ("trace", 0.9)).right >= 6
    rng = np.random.default_rng(8)
    unknown = [single_server_of(OnOff(1.02, 60.0, 120.0).times_s(rng, 10_000), rng) for _ in range(12)]
    assert STEADY in {judge(*run, arrivals=Arrivals(known=True)).answer for run in unknown}, "a test that sees nothing"


def single_server_of(arrival_s, rng):
    service_s = rng.exponential(1.0, len(arrival_s))
    worked_s = np.cumsum(service_s)
    end_s = worked_s + np.maximum.accumulate(arrival_s - (worked_s - service_s))
    return arrival_s, end_s - service_s, end_s


@pytest.mark.parametrize(("process", "period_s"), [(OnOff(1.0, 60.0, 120.0), 180.0), (Diurnal(1.0, 0.6, 500.0), 500.0)])
def test_periods_are_found_in_arrivals_that_have_one(process, period_s):
    rng = np.random.default_rng(9)
    arrival_s = process.times_s(rng, 10_000)

    assert process.repeats_s == period_s
    assert period_of(arrival_s, 0.0, float(arrival_s[-1])) == pytest.approx(period_s, rel=0.04)
    none = [period_of(np.cumsum(rng.exponential(1.0, 3000)), 0.0, 3000.0) for _ in range(100)]
    assert none.count(None) >= 99
