"""Arrival processes: when requests reach the cluster.

Each is ``f(rng, requests, **options)`` and returns times in seconds, ascending, shape (requests,). The first
request arrives after one gap, not at 0 (but for closed loops). More requests from the same stream begin with the
same ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.workload.arguments import not_negative, positive, whole

Times = NDArray[np.float64]


def poisson(rng: np.random.Generator, requests: int, *, rate_per_s: float) -> Times:
    """Poisson process: exponential gaps of mean 1 / rate_per_s, coefficient of variation (CV) 1."""
    gap_s = 1.0 / positive("rate_per_s", rate_per_s)
    return np.cumsum(rng.exponential(gap_s, whole("requests", requests)))


def gamma(
    rng: np.random.Generator, requests: int, *, rate_per_s: float, burstiness: float, rescale: bool = False
) -> Times:
    """Gamma gaps of mean 1 / rate_per_s and CV 1 / sqrt(burstiness), as in vLLM's benchmark.

    The gap's shape is `burstiness`, its scale 1 / (rate_per_s * burstiness): 1 is Poisson, less is burstier.
    `rescale` stretches all times so that the last is exactly requests / rate_per_s; vLLM does so.
    """
    mean_s = 1.0 / positive("rate_per_s", rate_per_s)
    shape = positive("burstiness", burstiness)
    arrival_s = np.cumsum(rng.gamma(shape, mean_s / shape, whole("requests", requests)))
    return arrival_s * (requests * mean_s / arrival_s[-1]) if rescale else arrival_s


def constant(rng: np.random.Generator, requests: int, *, rate_per_s: float) -> Times:
    """Equal gaps of 1 / rate_per_s; draws nothing from `rng`."""
    return np.arange(1, whole("requests", requests) + 1) / positive("rate_per_s", rate_per_s)


def on_off(rng: np.random.Generator, requests: int, *, rate_per_s: float, on_s: float, off_s: float) -> Times:
    """Bursts: in turns, `on_s` seconds of Poisson arrivals and `off_s` of silence, from the start of a burst.

    `rate_per_s` is the long-run mean; within a burst the rate is rate_per_s * (on_s + off_s) / on_s.
    """
    cycle_s = positive("on_s", on_s) + not_negative("off_s", off_s)
    burst_rate_per_s = positive("rate_per_s", rate_per_s) * cycle_s / on_s
    busy_s = poisson(rng, requests, rate_per_s=burst_rate_per_s)  # a clock that stands still in the silences
    return busy_s + np.floor(busy_s / on_s) * off_s


def piecewise(
    rng: np.random.Generator,
    requests: int,
    *,
    from_s: Sequence[float],
    rates_per_s: Sequence[float],
    period_s: float | None = None,
) -> Times:
    """Poisson process whose rate is `rates_per_s[i]` from `from_s[i]` on, and begins anew every `period_s`.

    A time change of a Poisson process of rate 1: request k arrives when the integral of the rate reaches its time.
    Without a period the last rate lasts for ever, so it must be above 0.
    """
    starts_s, rates = np.array(from_s, dtype=np.float64), np.array(rates_per_s, dtype=np.float64)
    _check_curve(starts_s, rates, period_s)
    expected = np.cumsum(rng.exponential(1.0, whole("requests", requests)))  # requests since the start of the curve
    before = np.concatenate([[0.0], np.cumsum(rates[:-1] * np.diff(starts_s))])
    turn_s: Times | float = 0.0
    if period_s is not None:
        each = before[-1] + rates[-1] * (period_s - starts_s[-1])
        rounds = np.floor(expected / each)
        turn_s, expected = rounds * period_s, np.maximum(expected - rounds * each, 0.0)
    piece = np.searchsorted(before, expected, side="right") - 1
    with np.errstate(invalid="ignore"):
        inside_s = np.where(rates[piece] > 0, (expected - before[piece]) / rates[piece], 0.0)
    return np.maximum.accumulate(turn_s + starts_s[piece] + inside_s)


def _check_curve(starts_s: Times, rates: Times, period_s: float | None) -> None:
    if len(starts_s) != len(rates) or len(rates) == 0:
        raise InputError(f"rates_per_s = {rates.tolist()}: expected as many as from_s has, {len(starts_s)}")
    if starts_s[0] != 0 or (np.diff(starts_s) <= 0).any() or not np.isfinite(starts_s).all():
        raise InputError(f"from_s = {starts_s.tolist()}: expected times that rise from 0")
    if (rates < 0).any() or not np.isfinite(rates).all() or not rates.any():
        raise InputError(f"rates_per_s = {rates.tolist()}: expected rates of at least 0, and one above")
    if period_s is None and rates[-1] == 0:
        raise InputError(f"rates_per_s = {rates.tolist()}: expected a last rate above 0, or period_s")
    if period_s is not None and not (math.isfinite(period_s) and period_s > starts_s[-1]):
        raise InputError(f"period_s = {period_s}: expected more than the last of from_s, {starts_s[-1]:g}")


def diurnal(
    rng: np.random.Generator,
    requests: int,
    *,
    rate_per_s: float,
    amplitude: float,
    period_s: float = 86_400.0,
    peak_s: float = 43_200.0,
) -> Times:
    """Poisson process of rate rate_per_s (1 + amplitude cos(2 pi (t - peak_s) / period_s)): the load of a day.

    A time change of a Poisson process of rate 1, the integral of the rate being inverted by bisection.
    """
    mean, swing = positive("rate_per_s", rate_per_s), not_negative("amplitude", amplitude)
    if swing > 1:
        raise InputError(f"amplitude = {amplitude!r}: expected from 0 to 1, or the rate would fall below 0")
    omega = 2 * math.pi / positive("period_s", period_s)
    expected_s = np.cumsum(rng.exponential(1.0, whole("requests", requests))) / mean
    offset = math.sin(omega * not_negative("peak_s", peak_s))
    low_s, high_s = expected_s - 2 * swing / omega, expected_s + 2 * swing / omega  # no further from the mean rate's
    for _ in range(100):
        middle_s = (low_s + high_s) / 2
        through_s = middle_s + swing / omega * (np.sin(omega * (middle_s - peak_s)) + offset)
        low_s = np.where(through_s < expected_s, middle_s, low_s)
        high_s = np.where(through_s < expected_s, high_s, middle_s)
    return np.maximum.accumulate(np.maximum(high_s, 0.0))


def closed(rng: np.random.Generator, requests: int, *, concurrency: int) -> Times:
    """Closed loop: all requests are ready at 0, and clients have `concurrency` of them in flight; draws nothing."""
    whole("concurrency", concurrency)
    return np.zeros(whole("requests", requests))


PROCESSES: Mapping[str, Callable[..., Times]] = {
    "poisson": poisson,
    "gamma": gamma,
    "constant": constant,
    "on_off": on_off,
    "piecewise": piecewise,
    "diurnal": diurnal,
    "closed": closed,
}
