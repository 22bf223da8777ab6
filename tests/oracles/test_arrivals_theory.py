"""Arrival processes against their textbook moments and distributions; tolerances are four standard errors."""

from __future__ import annotations

from math import erf, exp, pi, sin, sqrt

import numpy as np
import pytest

from llmsim.workload.synthetic import arrival_process

N = 40_000
RATE_PER_S = 3.0


def drawn(process, rng, requests, **options):
    return arrival_process(process, **options).times_s(rng, requests)


def gaps_s(arrival_s):
    return np.diff(arrival_s, prepend=0.0)


def kolmogorov_distance(sample, cdf):
    theory = np.array([cdf(x) for x in np.sort(sample)])
    steps = np.arange(len(sample) + 1) / len(sample)
    return max(np.abs(theory - steps[:-1]).max(), np.abs(theory - steps[1:]).max())


@pytest.mark.parametrize("burstiness", [0.25, 0.5, 1.0, 4.0])
def test_gamma_gaps_have_mean_one_over_rate_and_cv_one_over_root_burstiness(burstiness):
    gaps = gaps_s(drawn("gamma", np.random.default_rng(1), N, rate_per_s=RATE_PER_S, burstiness=burstiness))
    mean_s, cv = 1 / RATE_PER_S, 1 / sqrt(burstiness)

    assert gaps.mean() == pytest.approx(mean_s, abs=4 * mean_s * cv / sqrt(N))
    # For Gamma gaps the delta method gives the sample CV a standard error of cv sqrt((1 + cv^2) / 2n).
    assert gaps.std() / gaps.mean() == pytest.approx(cv, abs=4 * cv * sqrt((1 + cv**2) / (2 * N)))


@pytest.mark.parametrize(
    ("burstiness", "cdf"),
    [
        (0.5, lambda x: erf(sqrt(x * RATE_PER_S / 2))),
        (1.0, lambda x: 1 - exp(-RATE_PER_S * x)),
        (2.0, lambda x: 1 - exp(-2 * RATE_PER_S * x) * (1 + 2 * RATE_PER_S * x)),
    ],
)
def test_gamma_gaps_follow_the_closed_form_distribution(burstiness, cdf):
    gaps = gaps_s(drawn("gamma", np.random.default_rng(2), N, rate_per_s=RATE_PER_S, burstiness=burstiness))

    assert kolmogorov_distance(gaps, cdf) < 1.95 / sqrt(N)  # Kolmogorov's 0.1 % point


def test_poisson_gaps_follow_the_exponential_distribution():
    gaps = gaps_s(drawn("poisson", np.random.default_rng(3), N, rate_per_s=RATE_PER_S))

    assert kolmogorov_distance(gaps, lambda x: 1 - exp(-RATE_PER_S * x)) < 1.95 / sqrt(N)


def test_poisson_counts_have_variance_equal_to_their_mean():
    arrival_s = drawn("poisson", np.random.default_rng(4), N, rate_per_s=RATE_PER_S)
    counts = np.bincount(arrival_s.astype(int))[:-1]

    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=4 * sqrt(2 / len(counts)))


def test_rescaled_gamma_ends_at_requests_over_rate_and_keeps_its_shape():
    plain = drawn("gamma", np.random.default_rng(5), N, rate_per_s=RATE_PER_S, burstiness=0.5)
    rescaled = drawn("gamma", np.random.default_rng(5), N, rate_per_s=RATE_PER_S, burstiness=0.5, rescale=True)

    assert rescaled[-1] == pytest.approx(N / RATE_PER_S, rel=1e-12)
    assert rescaled / rescaled[-1] == pytest.approx(plain / plain[-1], rel=1e-12)


def test_constant_arrivals_are_multiples_of_the_gap():
    arrival_s = drawn("constant", np.random.default_rng(6), 4, rate_per_s=2.0)

    assert arrival_s.tolist() == [1 / 2.0, 2 / 2.0, 3 / 2.0, 4 / 2.0]


@pytest.mark.parametrize(("on_s", "off_s"), [(10.0, 20.0), (5.0, 0.0), (1.0, 9.0)])
def test_on_off_keeps_the_long_run_rate_and_is_poisson_within_bursts(on_s, off_s):
    arrival_s = drawn("on_off", np.random.default_rng(7), N, rate_per_s=RATE_PER_S, on_s=on_s, off_s=off_s)
    cycle_s = on_s + off_s
    per_cycle = np.bincount((arrival_s // cycle_s).astype(int))[:-1]
    expected = RATE_PER_S * cycle_s

    assert (arrival_s % cycle_s <= on_s * (1 + 1e-9)).all()
    assert per_cycle.mean() == pytest.approx(expected, abs=4 * sqrt(expected / len(per_cycle)))
    assert per_cycle.var() / per_cycle.mean() == pytest.approx(1.0, abs=4 * sqrt(2 / len(per_cycle)))


@pytest.mark.parametrize(("burst_s", "every_s"), [(10.0, 30.0), (7.0, 7.0), (1.0, 1.3)])
def test_bursts_have_so_many_requests_each_and_are_uniform_within(burst_s, every_s):
    arrival_s = drawn("bursts", np.random.default_rng(9), N, rate_per_s=RATE_PER_S, burst_s=burst_s, every_s=every_s)
    per_burst = np.bincount((arrival_s // every_s).astype(int))[:-1]
    expected = RATE_PER_S * every_s

    assert set(per_burst.tolist()) <= {int(expected), int(np.ceil(expected))}
    assert per_burst.mean() == pytest.approx(expected, rel=1.5 / len(arrival_s) * expected)
    assert kolmogorov_distance(arrival_s % every_s, lambda t: np.clip(t / burst_s, 0, 1)) < 1.95 / sqrt(N)


def assert_poisson_with_these_phases(arrival_s, cdf, per_period, period_s):
    """Given their number, the arrivals of whole periods are independent, each with the rate's shape as its density."""
    periods = int(arrival_s[-1] // period_s)
    inside_s = arrival_s[arrival_s < periods * period_s]
    counts = np.bincount((inside_s // period_s).astype(int), minlength=periods)

    assert kolmogorov_distance(inside_s % period_s, cdf) < 1.95 / sqrt(len(inside_s))
    assert counts.mean() == pytest.approx(per_period, abs=4 * sqrt(per_period / periods))
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=4 * sqrt(2 / periods))


@pytest.mark.parametrize(("amplitude", "peak_s"), [(0.0, 0.0), (0.6, 13.0), (1.0, 30.0)])
def test_diurnal_arrivals_follow_the_integral_of_their_rate(amplitude, peak_s):
    period_s, omega = 40.0, 2 * pi / 40.0
    arrival_s = drawn(
        "diurnal",
        np.random.default_rng(8),
        N,
        rate_per_s=RATE_PER_S,
        amplitude=amplitude,
        period_s=period_s,
        peak_s=peak_s,
    )

    def cdf(x):
        return (x + amplitude / omega * (sin(omega * (x - peak_s)) + sin(omega * peak_s))) / period_s

    assert_poisson_with_these_phases(arrival_s, cdf, RATE_PER_S * period_s, period_s)
    through = RATE_PER_S * period_s * np.array([cdf(t) for t in arrival_s])  # from 0 on: a process of rate 1
    assert through == pytest.approx(np.cumsum(np.random.default_rng(8).exponential(1.0, N)), abs=1e-6)


def test_piecewise_arrivals_follow_the_integral_of_their_rate():
    arrival_s = drawn(
        "piecewise", np.random.default_rng(9), N, from_s=[0.0, 10.0, 15.0], rates_per_s=[2.0, 0.0, 8.0], period_s=25.0
    )

    def cdf(x):
        return (2 * min(x, 10) + 8 * max(x - 15, 0)) / 100

    assert_poisson_with_these_phases(arrival_s, cdf, 100, 25.0)


def test_a_last_rate_lasts():
    arrival_s = drawn("piecewise", np.random.default_rng(10), N, from_s=[0.0, 100.0], rates_per_s=[0.5, 20.0])

    assert np.searchsorted(arrival_s, 100.0) == pytest.approx(50, abs=4 * sqrt(50))
    assert np.diff(arrival_s[arrival_s > 100]).mean() == pytest.approx(0.05, rel=4 / sqrt(N))
