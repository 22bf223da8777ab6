"""Intervals of shares and quantiles of correlated requests: closed forms, made clusters, and how often they cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.statistics.samples import Sample, effective_size, mean_of_runs, quantile, sample_of
from llmsim.statistics.shares import Clusters, clusters_of, probability_at_most, rare, share, share_of
from llmsim.studies.validation.coverage import Queue, coverage


@pytest.mark.parametrize(("events", "low", "high"), [(10, 4.80, 18.39), (20, 12.22, 30.89), (50, 37.11, 65.92)])
def test_single_events_have_the_printed_poisson_limits(events, low, high):
    """Garwood's table (1936) of 95 % limits: what Fay & Feuer's interval is where every weight is one."""
    n = 100_000_000  # so rare that 1 - share is one
    runs = [Clusters(n, events // 2, events / 2, 1)] * 2
    found = rare(runs)

    assert (2 * n * found[0], 2 * n * found[1]) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


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
    assert mean_of_runs([1.0, 2.0], 1000).bounded
    assert not mean_of_runs([1.0, 2.0], 20).bounded


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
    rows = coverage(10, requests=(1000,), pool=12)
    given = [row for row in rows if row.answered >= 0.8 * row.repetitions]
    covered = sum(row.covering for row in given) / sum(row.answered for row in given)

    assert 0.90 < covered < 0.99
    assert all(row.answered == 0 for row in rows if row.load == 0.9 and row.number in ("e2e_s.p99", "e2e_s.mean"))
    assert all(row.answered > 0 for row in rows if row.load == 0.3 and row.number != "attainment 0.999")
