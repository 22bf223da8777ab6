"""Fit the host's times to a measured run: per step, per sequence in a step, and per request on the API path.

The API path's way in and way out cannot be told apart by what clients see of an uncapped run (each adds as much to TTFT
and E2E), so that all of it is counted as way in. What the GPU takes is not fitted.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llmsim.hardware import HostTimes
from llmsim.validation.replay import Floats

NAMES = ("step_s", "sequence_s", "request_s")
SCALE = np.array([1e-3, 1e-5, 1e-2])  #: what is a noticeable change of each
STEPS, NUDGE = 8, 0.2
DAMPING = 1e-4  #: of the squared residuals' curvature: keeps constants apart that the run cannot tell apart

#: from host times to what clients see
Predict = Callable[[HostTimes], Floats]


def fit_host(predict: Predict, measured: Floats) -> HostTimes:
    """Return the times, none negative, with the least sum of squared relative errors of `predict` against `measured`.

    Gauss-Newton with derivatives by differences, since predictions come from a simulation; the best point is kept.
    """

    def errors(point: Floats) -> Floats:
        return predict(_times(point)) / measured - 1

    point = np.zeros(len(NAMES))
    best, left = point, errors(point)
    for _ in range(STEPS):
        start = errors(point)
        slopes = np.stack([(errors(point + nudge) - start) / NUDGE for nudge in NUDGE * np.eye(len(NAMES))], axis=1)
        point = _solved(point, slopes, start)
        now = errors(point)
        if now @ now < left @ left:
            gain = left @ left - now @ now
            best, left = point, now
            if gain < 1e-3 * (left @ left):
                break
    return _times(best)


def _solved(point: Floats, slopes: Floats, errors: Floats) -> Floats:
    """One Gauss-Newton step; constants that would become negative stay at 0, and the others are solved again."""
    free = np.ones(len(point), dtype=bool)
    while True:
        a = np.concatenate([slopes[:, free], np.sqrt(DAMPING) * np.eye(free.sum())])
        target = slopes @ point - errors
        b = np.concatenate([target, np.zeros(free.sum())])
        solved = np.zeros(len(point))
        solved[free] = np.linalg.lstsq(a, b, rcond=None)[0]
        if (solved >= 0).all():
            return solved
        free &= solved > 0


def _times(point: Floats) -> HostTimes:
    return HostTimes(**{name: float(value) for name, value in zip(NAMES, point * SCALE, strict=True)})
