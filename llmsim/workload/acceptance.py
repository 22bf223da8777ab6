"""How much of what is drafted for requests is accepted, evenly or as drawn (llmsim/acceptance.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import gcd

import numpy as np
from numpy.typing import NDArray

from llmsim.acceptance import PER_TOKEN, Draws
from llmsim.request import Request


@dataclass(frozen=True, eq=False)
class Acceptance:
    """Acceptance lengths of requests by class, and where each is in its rhythm at the start."""

    #: for each class, by the number of drafted tokens from 0: hundredths of a token that a step yields
    lengths: tuple[tuple[int, ...], ...]
    of_request: NDArray[np.int64]  #: (requests,) number of its class
    phase: NDArray[np.int64]  #: (requests,) hundredths of a token; 0 where steps are drawn
    #: (requests,) seeds of what steps yield; None: even acceptance
    seeds: NDArray[np.uint64] | None = None
    _draws: dict[int, Draws] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.phase)

    def tell(self, request: Request) -> None:
        """Put on a request how it speculates."""
        request.acceptance = self.lengths[self.of_request[request.id]]
        request.phase = int(self.phase[request.id])

    def take(self, index: NDArray[np.int64]) -> Acceptance:
        """Return the acceptance of these requests, in this order."""
        seeds = None if self.seeds is None else self.seeds[index]
        return Acceptance(self.lengths, self.of_request[index], self.phase[index], seeds)

    @property
    def draws_of(self) -> Callable[[int], Draws] | None:
        """What the steps of a request yield, by its id; None: even acceptance."""
        return None if self.seeds is None else self._drawn

    def _drawn(self, id: int) -> Draws:
        found = self._draws.get(id)
        if found is None:
            assert self.seeds is not None
            rng = np.random.default_rng(int(self.seeds[id]))
            found = self._draws[id] = Draws(rng, rates_of(self.lengths[self.of_request[id]]))
        return found


def rates_of(lengths: Sequence[int]) -> NDArray[np.float64]:
    """Shares of steps in which the first drafted token, the first two, ... are accepted, never ascending.

    So they are that fewer drafts have these lengths; where measured ones ascend, all drafts together have theirs.
    """
    return np.sort(np.diff(lengths))[::-1] / PER_TOKEN


def draw(
    rng: np.random.Generator, lengths: Sequence[Sequence[int]], of_request: NDArray[np.int64], drafts: int
) -> Acceptance:
    """Draw the phases of requests, of those that their acceptance length with so many drafts tells apart.

    `lengths` as `Acceptance` has them. One of a whole number of tokens has one phase, so that nothing is drawn of it.
    """
    steps = np.array([gcd(each[drafts], PER_TOKEN) for each in lengths])[of_request]
    phase = rng.integers(0, PER_TOKEN, len(of_request))
    return Acceptance(tuple(tuple(each) for each in lengths), of_request, phase - phase % steps)


def draw_steps(
    rng: np.random.Generator, lengths: Sequence[Sequence[int]], of_request: NDArray[np.int64], drafts: int
) -> Acceptance:
    """Draw a seed for each request, of which what each of its steps yields is drawn, with so many drafts."""
    n = len(of_request)
    seeds = rng.integers(0, 2**63, n, dtype=np.uint64)
    given = tuple(tuple(each[: drafts + 1]) for each in lengths)
    return Acceptance(given, of_request, np.zeros(n, np.int64), seeds)
