"""Users that leave: how long each waits for its first token, and for the next one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError

INFINITE_S = float("inf")
LEAST_S = 1e-3  #: no user gives up sooner; patience is looked at as often as it could run out
DISTRIBUTIONS = ("fixed", "exponential", "lognormal")


@dataclass(frozen=True, eq=False)
class Patience:
    """Seconds that each user waits, shape (requests,); infinity: for ever."""

    first_token_s: NDArray[np.float64]  #: from the arrival to the first token
    next_token_s: NDArray[np.float64]  #: from one token to the next
    cancel_delay_s: float = 0.0  #: from when a user leaves to when the server learns of it

    def repeated(self, requests: int, times: int) -> Patience:
        """Return the patience of the first `requests`, each `times` times in a row."""
        index = np.repeat(np.arange(requests), times)
        return Patience(self.first_token_s[index], self.next_token_s[index], self.cancel_delay_s)


def draw_patience(
    rng: np.random.Generator, requests: int, *, distribution: str, mean_s: float, cv: float | None = None
) -> NDArray[np.float64]:
    """Draw each user's patience, seconds, shape (requests,). `cv`: variation of `lognormal`, 1 if None."""
    if distribution == "fixed":
        drawn = np.full(requests, mean_s)
    elif distribution == "exponential":
        drawn = rng.exponential(mean_s, requests)
    elif distribution == "lognormal":
        sigma = np.sqrt(np.log1p((1.0 if cv is None else cv) ** 2))
        drawn = rng.lognormal(np.log(mean_s) - sigma * sigma / 2, sigma, requests)
    else:
        raise InputError(f"distribution is '{distribution}', expected one of {', '.join(DISTRIBUTIONS)}")
    patience_s: NDArray[np.float64] = np.maximum(drawn, LEAST_S)
    return patience_s
