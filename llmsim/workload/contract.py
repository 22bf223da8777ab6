"""A workload: who asks for what, and when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.workload.prefixes import Prefixes


@dataclass(frozen=True, eq=False)
class Workload:
    """Requests in order of arrival; all arrays have shape (requests,)."""

    arrival_s: NDArray[np.float64]
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    source: str  #: where it came from, in words, for reports
    prefixes: Prefixes | None = None  #: which requests begin alike; None: nobody knows, or none do

    user: NDArray[np.int64] | None = None  #: number of who asks; None: nobody knows

    def __post_init__(self) -> None:
        n = len(self.arrival_s)
        if n == 0:
            raise InputError(f"{self.source}: no requests")
        if not len(self.prompt_tokens) == len(self.output_tokens) == n:
            raise InputError(f"{self.source}: columns differ in length")
        if self.user is not None and len(self.user) != n:
            raise InputError(f"{self.source}: users of {len(self.user)} requests, expected {n}")
        if self.prefixes is not None and len(self.prefixes) != n:
            raise InputError(f"{self.source}: prefixes of {len(self.prefixes)} requests, expected {n}")
        if not (np.isfinite(self.arrival_s).all() and self.arrival_s[0] >= 0):
            raise InputError(f"{self.source}: arrival_s must be finite and not negative")
        if (np.diff(self.arrival_s) < 0).any():
            raise InputError(f"{self.source}: arrivals must be in order of time")
        for name in ("prompt_tokens", "output_tokens"):
            if getattr(self, name).min() < 1:
                at = int(np.argmin(getattr(self, name)))
                raise InputError(
                    f"{self.source}: request {at} has {name} = {getattr(self, name)[at]}, expected at least 1"
                )

    def __len__(self) -> int:
        return len(self.arrival_s)
