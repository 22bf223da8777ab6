"""Arrival processes: when requests reach the cluster.

Each is ``f(rng, requests, **options)`` and returns times in seconds, ascending, shape (requests,). The first
request arrives after one gap, not at 0 (but for closed loops). More requests from the same stream begin with the
same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

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


def closed(rng: np.random.Generator, requests: int, *, concurrency: int) -> Times:
    """Closed loop: all requests are ready at 0, and clients have `concurrency` of them in flight; draws nothing."""
    whole("concurrency", concurrency)
    return np.zeros(whole("requests", requests))


PROCESSES: Mapping[str, Callable[..., Times]] = {
    "poisson": poisson,
    "gamma": gamma,
    "constant": constant,
    "on_off": on_off,
    "closed": closed,
}
