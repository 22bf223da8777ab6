"""Fit the host's times to a measured run: per step, per sequence in a step, and per request on the API path.

The API path's way in and way out cannot be told apart by what clients see of an uncapped run (each adds as much to TTFT
and E2E), so that all of it is counted as way in. What the GPU takes is not fitted.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from llmsim.latency.hardware import HostTimes
from llmsim.studies.validation.replay import Floats

NAMES = ("step_s", "sequence_s", "request_s")
#: of engines that schedule asynchronously, whose other time on the host the GPU's hides
ASYNCHRONOUS = ("serial_step_s", "serial_sequence_s", "request_s")
#: what is a noticeable change of each
SCALE = {
    "step_s": 1e-3,
    "sequence_s": 4e-5,
    "serial_step_s": 1e-3,
    "serial_sequence_s": 4e-5,
    "request_s": 1e-2,
    "eager_step_s": 2e-3,
}
STEPS, NUDGE = 12, 0.5
LEAST_GAIN, PATIENCE = 1e-2, 3  #: stop after so many steps that each gain less than this share
DAMPING = 1e-6  #: Levenberg's: what the run does not determine stays where it is

#: from host times to what clients see
Predict = Callable[[HostTimes], Floats]


def fit_host(predict: Predict, measured: Floats, names: Sequence[str] = NAMES) -> HostTimes:
    """Return the times of these `names`, none negative, with the least sum of squared relative errors
    of `predict` against `measured`.

    Levenberg's method; derivatives by differences, since predictions come from a simulation; the best point is kept.
    """

    def errors(point: Floats) -> Floats:
        return predict(_times(names, point)) / measured - 1

    point = np.zeros(len(names))
    start = errors(point)
    best, left, stale = point, start @ start, 0
    for _ in range(STEPS):
        slopes = np.stack([(errors(point + nudge) - start) / NUDGE for nudge in NUDGE * np.eye(len(names))], axis=1)
        point = _solved(point, slopes, start)
        start = errors(point)
        stale = 0 if start @ start < left * (1 - LEAST_GAIN) else stale + 1
        if start @ start < left:
            best, left = point, start @ start
        if stale == PATIENCE:
            break
    return _times(names, best)


def _solved(point: Floats, slopes: Floats, errors: Floats) -> Floats:
    """One step; constants that would become negative stay at 0, and the others are solved again."""
    free = np.ones(len(point), dtype=bool)
    while True:
        a = np.concatenate([slopes[:, free], np.sqrt(DAMPING) * np.eye(free.sum())])
        target = slopes @ point - errors
        b = np.concatenate([target, np.sqrt(DAMPING) * point[free]])
        solved = np.zeros(len(point))
        solved[free] = np.linalg.lstsq(a, b, rcond=None)[0]
        if (solved >= 0).all():
            return solved
        free &= solved > 0


def slopes_at(predict: Predict, host: HostTimes, seen: Floats, names: Sequence[str] = NAMES) -> Floats:
    """How predictions change with each constant, by `SCALE`, around times at which they are `seen`: (values, names)."""
    point = _point(host, names)
    nudged = [predict(_times(names, point + nudge)) for nudge in NUDGE * np.eye(len(names))]
    return np.stack([(values - seen) / NUDGE for values in nudged], axis=1)


def refitted(host: HostTimes, names: Sequence[str], seen: Floats, slopes: Floats, measured: Floats) -> Floats:
    """The constants that other measured values would have given, in seconds: one step along the slopes."""
    point = _solved(_point(host, names), slopes / measured[:, None], seen / measured - 1)
    return np.asarray(point * np.array([SCALE[name] for name in names]))


def _point(host: HostTimes, names: Sequence[str]) -> Floats:
    return np.array([getattr(host, name) / SCALE[name] for name in names])


def _times(names: Sequence[str], point: Floats) -> HostTimes:
    """The largest CUDA graph, which `eager_step_s` goes with, is the engine's affair: `predict` knows it."""
    values = {name: float(value) * SCALE[name] for name, value in zip(names, point, strict=True)}
    return HostTimes().model_copy(update=values)


def write_host(path: Path, name: str, host: HostTimes, source: str) -> None:
    """Write a host's profile, as `hardware.load_host` reads it."""
    times = [f"{key} = {value:.4g}" for key, value in host.model_dump().items() if value]
    date = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    lines = [f"name = {json.dumps(name)}", *times, "", "[provenance]", f"source = {json.dumps(source)}"]
    path.write_text("\n".join([*lines, f'date = "{date}"', ""]), encoding="utf-8")
