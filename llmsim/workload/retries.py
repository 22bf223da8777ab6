"""Retries: users that try again when a request has failed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.request import Outcome
from llmsim.workload.arguments import not_negative, positive, whole

LEAST_S = 1e-3  #: no user is back sooner
FAILURES = frozenset({Outcome.REJECTED, Outcome.ABANDONED, Outcome.CANCELLED})


@dataclass(frozen=True, eq=False)
class Retries:
    """Which failures users answer with another attempt, and after how long."""

    backoff_s: NDArray[np.float64]  #: (requests, attempts - 1) from the end of an attempt, as its client sees it
    on: frozenset[Outcome] = FAILURES

    @property
    def attempts(self) -> int:
        """Most attempts at a request, the first one included."""
        return int(self.backoff_s.shape[1]) + 1


def draw_backoffs(
    rng: np.random.Generator,
    requests: int,
    *,
    max_attempts: int,
    backoff_s: float,
    factor: float,
    max_backoff_s: float,
    jitter: float,
) -> NDArray[np.float64]:
    """Draw the waits before the attempts 1, 2, …, seconds, shape (requests, max_attempts - 1).

    min(backoff_s factor^k, max_backoff_s) (1 - jitter U) with U uniform on [0, 1): jitter 0 is a fixed schedule, 1 is
    "full jitter"; factor 1 is a constant backoff.
    """
    waits = whole("max_attempts", max_attempts, least=2) - 1
    steps_s = positive("backoff_s", backoff_s) * positive("factor", factor) ** np.arange(waits)
    drawn = rng.random((requests, waits))
    waits_s = np.minimum(steps_s, positive("max_backoff_s", max_backoff_s)) * (
        1 - not_negative("jitter", jitter) * drawn
    )
    backoffs_s: NDArray[np.float64] = np.maximum(waits_s, LEAST_S)
    return backoffs_s
