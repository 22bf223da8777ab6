"""Session affinity: a user's requests go to the same instance, found by hashing.

Rendezvous hashing (Thaler & Ravishankar, IEEE/ACM ToN 1998): the instance with the highest hash of user and instance.
Bounded loads as in consistent hashing with bounded loads (Mirrokni et al., SODA 2018): where that instance is too
full, the request goes to the next in its user's own order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from llmsim.request import RequestView
from llmsim.router import FleetView, Router
from llmsim.scheduler import positive


@dataclass(frozen=True)
class SessionAffinity(Router):
    """Every user has an instance, unless it has more than `load_factor` times the mean number of requests.

    At 1 load is as even as it can be; with a large factor users never move. Where users are not known, every
    request is a user of its own.
    """

    load_factor: float = 1.25  #: a user moves where its instance has more than so many times the mean load

    def __post_init__(self) -> None:
        positive(load_factor=self.load_factor)
        if self.load_factor < 1:
            raise ValueError(f"load_factor = {self.load_factor:g}, expected at least 1")

    def route(self, request: RequestView, fleet: FleetView) -> int:
        """Take the first in the user's order that has room: one always has."""
        load = fleet.outstanding
        room = math.ceil(self.load_factor * (int(load.sum()) + 1) / fleet.size)
        return int(np.where(load < room, hashed(request.user, fleet.size), 0).argmax())


@lru_cache(maxsize=1024)  # users: the turns of a conversation follow each other
def hashed(user: int, size: int) -> NDArray[np.uint64]:
    """Hash a user with each instance (the finaliser of SplitMix64), shape (size,), read only; never 0."""
    x = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x ^= np.uint64(user * 0xD1B54A32D192ED03 % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = (x ^ (x >> np.uint64(31))) | np.uint64(1)
    x.flags.writeable = False
    return x
