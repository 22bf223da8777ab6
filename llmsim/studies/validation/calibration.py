"""Host times fitted to measured runs; how sure they are, and how well their form fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.experiment.instances import async_scheduling
from llmsim.latency.hardware import HostTimes
from llmsim.scenario import Scenario
from llmsim.studies.validation.host_fit import ASYNCHRONOUS, NAMES, fit_host, refitted, slopes_at
from llmsim.studies.validation.measured_run import MeasuredRun, predict
from llmsim.studies.validation.replay import Floats, Latencies

LOADS = 3  #: parts of a run, by how many requests were in flight
FITTED = ("ttft_s", "tpot_s")  #: whose means are fitted, part by part
MOST_PERCENT = 10.0  #: error of a mean over a fitted run from which on its constants are refused
DRAWS, LEVEL = 400, 95  #: of the bootstrap over requests; percent of its intervals
FEWEST_BLOCKS = 10  #: of requests that are drawn together
FIRST_DRAW = 0  #: seed


@dataclass(frozen=True)
class Residual:
    """How far means are off of a third of a fitted run's requests, by how many were in flight, or of a stage.

    NaN: not measured.
    """

    run: str
    in_flight: float  #: mean
    ttft_percent: float
    tpot_percent: float


@dataclass(frozen=True)
class Calibration:
    """What was fitted: constants, their intervals from a bootstrap over requests, and what they leave."""

    host: HostTimes
    intervals: dict[str, tuple[float, float]]  #: constant -> bounds, seconds
    residuals: tuple[Residual, ...]


def calibrate(runs: Sequence[MeasuredRun], scenario: Scenario) -> Calibration:
    """Fit the host's times to measured runs, all of them at once. What the scenario says of its host is not used.

    A run's requests are dealt into `LOADS` parts by how many others were in flight when they were sent; what is
    fitted is mean TTFT and mean TPOT of each part. Of an engine that schedules asynchronously, the times that it cannot
    overlap. InputError where no constants make the scenario the measured engine, and for one that caches prefixes,
    which results do not tell.
    """
    if any(cluster.prefix_caching for _, cluster in scenario.pools):
        raise InputError(
            f"{scenario.where('cluster', 'prefix_caching')}true, and {runs[0].name} does not say which prompts begin "
            "alike: what the cache saved would be taken for the host's; expected false, and no shared prefixes"
        )
    names = ASYNCHRONOUS if async_scheduling(scenario, 0) else NAMES
    parts = [np.array_split(np.argsort(run.in_flight(), kind="stable"), LOADS) for run in runs]
    measured = [run.latencies for run in runs]
    aim = _means(measured, parts)
    if not (aim > 0).all():
        raise InputError(
            f"{runs[0].name}: expected a mean TTFT and a mean TPOT above 0 of each of {LOADS} parts of its requests: "
            f"at least {LOADS} of them, with more than one token each"
        )

    def predicted(host: HostTimes) -> Floats:
        found = _means([predict(run, scenario, host) for run in runs], parts)
        if np.isnan(found).any():
            raise InputError(
                f"scenario {scenario.name}: serves not one of a third of the measured requests to the end; "
                "expected limits (max_model_len, KV blocks) and a policy that do"
            )
        return found

    host = fit_host(predicted, aim, names)
    seen = [predict(run, scenario, host) for run in runs]
    means = _means(seen, parts)
    residuals = _residuals(runs, parts, means / aim)
    check_fit(host, residuals)
    slopes = slopes_at(predicted, host, means, names)
    rng = np.random.default_rng(FIRST_DRAW)
    found = []
    for _ in range(DRAWS):  # the same requests measured and predicted: what they ask for is not in doubt
        drawn = [resampled(rng, run, mine) for run, mine in zip(runs, parts, strict=True)]
        found.append(refitted(host, names, _means(seen, drawn), slopes, _means(measured, drawn)))
    bounds = np.percentile(found, [50 - LEVEL / 2, 50 + LEVEL / 2], axis=0).T
    intervals = {name: (float(low), float(high)) for name, (low, high) in zip(names, bounds, strict=True)}
    return Calibration(host, intervals, residuals)


#: of each run, the requests of each of its parts
Parts = Sequence[Sequence[NDArray[np.int64]]]


def resampled(
    rng: np.random.Generator, run: MeasuredRun, parts: Sequence[NDArray[np.int64]]
) -> Sequence[NDArray[np.int64]]:
    """The run's parts when its requests are drawn again, with repetition: in blocks, one after another in time.

    Requests that were under way together share steps, and what disturbed them. A block is twice as many as were under
    way on average, at least `FEWEST_BLOCKS` in a run.
    """
    count, in_flight = len(run.workload), run.in_flight()
    block = max(1, min(int(2 * in_flight.mean()), count // FEWEST_BLOCKS))
    starts = rng.integers(count, size=-(-count // block))
    drawn = ((starts[:, None] + np.arange(block)) % count).ravel()
    of_part = np.empty(count, dtype=np.int64)
    for number, part in enumerate(parts):
        of_part[part] = number
    found = [drawn[of_part[drawn] == number] for number in range(len(parts))]
    return [one if len(one) else part for one, part in zip(found, parts, strict=True)]


def _means(seen: Sequence[Latencies], parts: Parts) -> Floats:
    values = [
        _mean(getattr(one, metric)[part])
        for one, mine in zip(seen, parts, strict=True)
        for part in mine
        for metric in FITTED
    ]
    return np.array(values)


def _mean(values: Floats) -> float:
    """Mean of what is known; NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan


def _residuals(runs: Sequence[MeasuredRun], parts: Parts, ratio: Floats) -> tuple[Residual, ...]:
    percent = iter(100 * (ratio.reshape(-1, len(FITTED)) - 1))
    return tuple(
        Residual(run.name, float(run.in_flight()[part].mean()), *map(float, next(percent)))
        for run, mine in zip(runs, parts, strict=True)
        for part in mine
    )


def check_fit(host: HostTimes, residuals: Sequence[Residual]) -> None:
    """InputError for constants that are no host's."""
    known = {name: [getattr(one, f"{name}_percent") for one in residuals] for name in ("ttft", "tpot")}
    means = {name: float(np.mean(values)) for name, values in known.items() if np.isfinite(values).all()}
    off = ", ".join(f"mean {name.upper()} {percent:+.1f} %" for name, percent in means.items())
    if not any(host.model_dump(exclude_none=True).values()):
        raise InputError(
            f"no host time helps: without any, the scenario is already as slow as what was measured ({off}); "
            "expected a slower engine: look at its GPU, model, limits and async_scheduling"
        )
    if max(map(abs, means.values())) > MOST_PERCENT:
        worst = max(residuals, key=lambda one: max(abs(one.ttft_percent), abs(one.tpot_percent)))
        raise InputError(
            f"the scenario does not fit what was measured: with the best host times its {off}, expected within "
            f"{MOST_PERCENT:g} %; worst at {worst.in_flight:.0f} requests in flight (TTFT {worst.ttft_percent:+.1f} %, "
            f"TPOT {worst.tpot_percent:+.1f} %): look at its GPU, model, limits and async_scheduling"
        )
