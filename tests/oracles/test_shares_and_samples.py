"""Intervals of shares and quantiles of correlated requests: closed forms, made clusters, and how often they cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from llmsim.statistics.intervals import mean, skewed_mean
from llmsim.statistics.samples import Sample, effective_size, mean_of_runs, quantile, sample_of
from llmsim.statistics.shares import Clusters, Counted, clusters_of, probability_at_most, rare, share, share_of
from llmsim.studies.validation.coverage import Queue, coverage

N = 100_000_000  #: requests, so many that 1 - share is one


@pytest.mark.parametrize("events", [8, 20, 50])
def test_single_events_have_the_mid_p_limits_of_poisson(events):
    """Where every weight is one: half the chance of what was seen, and all of what is beyond it, is 2.5 %."""
    low, high = Counted(N, events, events, 1).ends(0.95)

    assert poisson.sf(events, low) + poisson.pmf(events, low) / 2 == pytest.approx(0.025, rel=1e-4)
    assert poisson.cdf(events - 1, high) + poisson.pmf(events, high) / 2 == pytest.approx(0.025, rel=1e-4)


def test_a_count_is_at_the_end_of_the_interval_of_its_factors():
    """A quantile's ends: so many times as many clusters, of the same sizes, would have had this number as an end."""
    found = Counted(N, 40.0, 130.0, 9)
    few, many = found.factors(0.95)

    assert found.times(few).ends(0.95)[1] == pytest.approx(40, rel=1e-6)
    assert found.times(many).ends(0.95)[0] == pytest.approx(40, rel=1e-6)


def test_runs_that_differ_by_more_than_their_clusters_widen_the_interval():
    """Long bursts that look like several short ones show between runs only."""
    alike, apart = ([Clusters(N, events, events, 1) for events in counts] for counts in ([20] * 5, [2, 8, 18, 30, 42]))
    widths = [math.log(high / low) for low, high in (rare(alike), rare(apart))]

    assert widths[1] > 1.15 * widths[0]


def test_a_skewed_mean_covers_where_t_misses_on_one_side():
    """Means of ten gamma values of skewness 0.8, whose mean is 1."""
    draws = np.random.default_rng(3).gamma(6.25, 0.16, (2000, 10))
    beside = {}
    for name, intervals in {"t": map(mean, draws), "corrected": (skewed_mean(row, 0.8) for row in draws)}.items():
        found = list(intervals)
        beside[name] = [np.mean([one.high < 1 for one in found]), np.mean([one.low > 1 for one in found])]

    assert sum(beside["corrected"]) == pytest.approx(0.05, abs=0.015)
    assert max(beside["corrected"]) < 1.6 * min(beside["corrected"])
    assert beside["t"][0] > 2.5 * beside["t"][1], "a test that sees nothing"
    assert skewed_mean(draws[0], 0.0) == mean(draws[0])


def test_bursts_are_found_as_they_were_made():
    """Fifty bursts of five requests that miss, one of them by one, far apart: clusters of five."""
    missed = np.zeros(50_000, np.bool_)
    for start in range(0, 50_000, 1000):
        missed[start : start + 5] = True

    assert clusters_of(missed) == Clusters(50_000, 250, 50 * 25.0, 5)
    alone = clusters_of(np.random.default_rng(0).random(50_000) < 0.01)
    assert alone.events**2 / alone.squares > 0.8 * alone.events, "misses by chance are alone"


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_the_effective_size_of_an_autoregressive_series_is_its_closed_form(memory):
    rng = np.random.default_rng(1)
    noise, series = rng.normal(size=40_000), np.zeros(40_000)
    for i in range(1, len(series)):
        series[i] = memory * series[i - 1] + noise[i]

    assert effective_size(series) == pytest.approx(40_000 * (1 - memory) / (1 + memory), rel=0.12)
    assert effective_size(np.full(100, 3.0)) == 100


@given(st.lists(st.lists(st.booleans(), min_size=40, max_size=120), min_size=2, max_size=4))
@settings(max_examples=25)
def test_a_share_never_leaves_0_to_1_and_is_never_said_to_be_exact(runs):
    found = share([share_of(np.array(run)) for run in runs], 1e9)

    if found.bounded:
        assert 0 <= found.low < found.estimate < found.high <= 1
    assert found.estimate == pytest.approx(sum(map(sum, runs)) / sum(map(len, runs)))


def test_without_a_miss_a_share_is_as_sure_as_three_over_n():
    """None missed of 300 that are independent: at most 1 % miss with 1 - exp(-3); clusters of ten are a tenth of it."""
    alone, tens = ([Clusters(100, 0, 0.0, largest)] * 3 for largest in (1, 10))

    assert probability_at_most(alone, 0.01)[0] == pytest.approx(1 - math.exp(-3), abs=1e-9)
    assert probability_at_most(tens, 0.01)[0] == pytest.approx(1 - math.exp(-0.3), abs=1e-9)
    assert probability_at_most(tens, 1.0) == (1.0, 1.0)
    assert not share([share_of(np.ones(1000, np.bool_))] * 5, 1e9).bounded


def test_pooled_quantiles_are_numpys_to_a_bin():
    rng = np.random.default_rng(2)
    runs = [rng.exponential(1.0, n) for n in (2000, 3000, 5000)]
    samples = [Sample.from_dict(sample_of(run).to_dict()) for run in runs]
    for q in (0.9, 0.99):
        found = quantile(samples, q)
        assert found.estimate == pytest.approx(np.quantile(np.concatenate(runs), q), rel=0.011)
        assert found.low < found.estimate < found.high
    assert not quantile(samples[:1], 0.99).bounded, "one run says nothing of how runs differ"


def test_runs_that_begin_empty_and_are_short_have_no_mean():
    assert mean_of_runs([1.0, 2.0], 1000, 1).bounded
    assert not mean_of_runs([1.0, 2.0], 20, 1).bounded
    assert not mean_of_runs([2.0, 2.0], 1000, 1).bounded, "that runs agree says not how sure they are"


@pytest.mark.parametrize("exponential", [True, False])
@pytest.mark.parametrize("load", [0.3, 0.9])
def test_the_queues_of_the_table_agree_with_pollaczek_and_khinchine(exponential, load):
    """Their distributions, integrated, are the mean of the formula that does not know them."""
    queue = Queue("", exponential, load)
    least_s, most_s = (0.0, 12 * load / (1 - load)) if exponential else (load, 60 * load)
    at_s = np.linspace(least_s, most_s, 401)
    assert least_s + np.trapezoid([queue.beyond(float(t)) for t in at_s], at_s) == pytest.approx(
        queue.mean_s(), rel=1e-2
    )
    assert 1 - queue.beyond(queue.quantile_s(0.99)) == pytest.approx(0.99, abs=1e-9)


def test_intervals_cover_or_are_not_given():
    """Small: `llmsim validate coverage` has more. No P99 at 0.9 of capacity; what is given covers about as it says."""
    rows = coverage(10, requests=(1000,), pool=12_000)
    given = [row for row in rows if row.answered >= 0.8 * row.repetitions]
    covered = sum(row.covering for row in given) / sum(row.answered for row in given)

    assert 0.90 < covered < 0.99
    assert all(row.answered == 0 for row in rows if row.load == 0.9 and row.number in ("e2e_s.p99", "e2e_s.mean"))
    services = [row for row in rows if (row.queue, row.load, row.number) == ("M/D/1", 0.3, "e2e_s.p50")]
    assert all(row.answered == 0 for row in services), "a median that is the service time in every run"
    others = [row for row in rows if row.load == 0.3 and row.number != "attainment 0.999" and row not in services]
    assert all(row.answered > 0 for row in others)
