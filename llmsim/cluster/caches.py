"""The prefix caches of a fleet, asked together: only those that may have something of a request are looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmsim.engine.block_cache import BlockCache
from llmsim.engine.block_paths import BlockPaths
from llmsim.engine.instance import Instance
from llmsim.request import RequestView


class Caches:
    """What requests would find on each instance of a fleet."""

    def __init__(self, instances: Sequence[Instance]) -> None:
        self._instances = instances
        self._of_paths: dict[BlockPaths, dict[BlockCache, int]] = {}  # places of caches whose holders are noted
        self._others: list[int] = []
        for place, instance in enumerate(instances):
            cache = instance.states.cache
            if isinstance(cache, BlockCache) and cache.paths.notes_holders:
                self._of_paths.setdefault(cache.paths, {})[cache] = place
            elif cache is not None:
                self._others.append(place)

    def cached(self, request: RequestView) -> NDArray[np.int64]:
        """Tokens that a request would find on each instance at this moment, shape (instances,)."""
        cached = np.zeros(len(self._instances), dtype=np.int64)
        for place in self._others:
            cached[place] = self._instances[place].cached_tokens(request)
        for paths, places in self._of_paths.items():
            for cache in paths.holders(request.id):
                if cache in places:
                    place = places[cache]
                    tokens = cached[place] = self._instances[place].cached_tokens(request)
                    if not tokens:
                        cache.found_nothing(request.id)
        return cached
