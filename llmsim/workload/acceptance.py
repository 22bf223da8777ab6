"""How much of what is drafted for requests is accepted: even acceptance (llmsim/acceptance.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from llmsim.acceptance import PER_TOKEN
from llmsim.request import Request


@dataclass(frozen=True, eq=False)
class Acceptance:
    """Acceptance lengths of requests by class, and where each is in its rhythm at the start."""

    #: for each class, by the number of drafted tokens from 0: hundredths of a token that a step yields
    lengths: tuple[tuple[int, ...], ...]
    of_request: NDArray[np.int64]  #: (requests,) number of its class
    phase: NDArray[np.int64]  #: (requests,) hundredths of a token

    def __len__(self) -> int:
        return len(self.phase)

    def tell(self, request: Request) -> None:
        """Put on a request how it speculates."""
        request.acceptance = self.lengths[self.of_request[request.id]]
        request.phase = int(self.phase[request.id])

    def take(self, index: NDArray[np.int64]) -> Acceptance:
        """Return the acceptance of these requests, in this order."""
        return Acceptance(self.lengths, self.of_request[index], self.phase[index])


def draw(
    rng: np.random.Generator, lengths: Sequence[Sequence[int]], of_request: NDArray[np.int64], drafts: int
) -> Acceptance:
    """Draw the phases of requests, of those that their acceptance length with so many drafts tells apart.

    `lengths` as `Acceptance` has them. One of a whole number of tokens has one phase, so that nothing is drawn of it.
    """
    steps = np.array([gcd(each[drafts], PER_TOKEN) for each in lengths])[of_request]
    phase = rng.integers(0, PER_TOKEN, len(of_request))
    return Acceptance(tuple(tuple(each) for each in lengths), of_request, phase - phase % steps)
