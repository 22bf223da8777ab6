"""Intervals against printed tables, closed forms and their own promise: how often they cover a known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llmsim import statistics
from llmsim.errors import InputError


@pytest.mark.parametrize(("n", "t"), [(2, 12.706), (3, 4.303), (6, 2.571), (10, 2.262), (31, 2.042)])
def test_a_mean_uses_the_printed_t_table(n, t):
    values = np.arange(n, dtype=float)
    found = statistics.mean(values)

    assert found.estimate == (n - 1) / 2
    assert found.half_width == pytest.approx(t * values.std(ddof=1) / math.sqrt(n), rel=2e-4)


def test_a_single_value_bounds_nothing():
    assert statistics.mean([3.0]) == statistics.Interval(3.0, -math.inf, math.inf, 0.95, 1)
    assert statistics.mean([3.0]).to_dict() == {"estimate": 3.0, "low": None, "high": None, "level": 0.95, "n": 1}


@pytest.mark.parametrize(("n", "low", "high"), [(10, 2, 9), (20, 6, 15), (50, 18, 33), (100, 40, 61)])
def test_a_median_lies_between_the_printed_ranks(n, low, high):
    """Ranks of the 95 % interval of a median, as tables of the sign test print them."""
    found = statistics.quantile(np.random.default_rng(0).permutation(np.arange(1.0, n + 1)), 0.5)

    assert (found.low, found.high) == (low, high)


def test_a_p99_has_no_upper_end_before_368_values():
    """The largest of n values is below the P99 with probability 0.99^n, which falls to 0.025 at n = 367.03."""
    assert 0.99**367 > 0.025 > 0.99**368
    assert math.isinf(statistics.quantile(np.arange(367.0), 0.99).high)
    assert statistics.quantile(np.arange(368.0), 0.99).high == 367.0


def test_the_pairs_difference_of_a_sample_with_itself_is_exactly_nothing():
    values = np.random.default_rng(0).normal(size=12)
    found = statistics.paired_difference(values, values)

    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0)


def test_pairing_takes_away_what_both_share():
    rng = np.random.default_rng(0)
    shared, own = rng.normal(0, 100, 30), rng.normal(1, 0.1, 30)

    assert statistics.paired_difference(shared, shared + own).half_width < 0.05
    assert statistics.mean(shared).half_width > 20


COVERED = {
    "t": (lambda rng: statistics.mean(rng.normal(3, 2, 5)), 3.0),
    "pairs": (lambda rng: statistics.paired_difference(*rng.normal([[0], [0.5]], 1, (2, 8))), 0.5),
    "bootstrap": (lambda rng: statistics.bootstrap(rng.exponential(1, 60), np.mean, resamples=300, seed=1), 1.0),
    "median": (lambda rng: statistics.quantile(rng.exponential(1, 75), 0.5), math.log(2)),
    "P90": (lambda rng: statistics.quantile(rng.exponential(1, 400), 0.9), math.log(10)),
}


@pytest.mark.parametrize("kind", COVERED)
def test_intervals_cover_the_truth_about_as_often_as_they_say(kind):
    """Never much less often than 95 %; exact ones for counts cover more, the bootstrap of few values somewhat less."""
    sample, truth = COVERED[kind]
    rng, repetitions = np.random.default_rng(11), 400 if kind == "bootstrap" else 1000
    covered = np.mean([sample(rng).covers(truth) for _ in range(repetitions)])
    least = 0.91 if kind == "bootstrap" else 0.95 - 3 * math.sqrt(0.95 * 0.05 / repetitions)

    assert least < covered < 0.999


@pytest.mark.parametrize("method", ["BCa", "percentile"])
def test_a_bootstrap_with_a_seed_gives_the_same_twice(method):
    values = np.random.default_rng(0).exponential(1, 20)
    one, two, other = (statistics.bootstrap(values, np.mean, seed=seed, method=method) for seed in (3, 3, 4))

    assert one == two != other
    assert one.low < values.mean() < one.high


def test_the_probability_of_a_bound_is_that_of_the_t_table():
    """A mean of 2.262 standard errors above the bound, 9 degrees of freedom: 97.5 % of the printed table."""
    values = np.arange(10.0)
    error = values.std(ddof=1) / math.sqrt(10)

    assert statistics.probability_at_least(values, values.mean() - 2.262 * error) == pytest.approx(0.975, abs=2e-5)
    assert statistics.probability_at_least(values, values.mean() + 2.262 * error) == pytest.approx(0.025, abs=2e-5)
    assert statistics.probability_at_least([5.0, 5.0], 5.0) == 1.0
    assert statistics.probability_at_least([5.0], 0.0) == 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: statistics.mean([]),
        lambda: statistics.mean([1.0, math.nan]),
        lambda: statistics.mean([1.0, 2.0], level=1.0),
        lambda: statistics.paired_difference([1.0], [1.0, 2.0]),
        lambda: statistics.quantile([1.0, 2.0], 1.0),
    ],
)
def test_what_has_no_interval_is_refused(wrong):
    with pytest.raises(InputError):
        wrong()
