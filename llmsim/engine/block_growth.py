"""What decoding requests add to cached blocks (block_cache.py): how much is known by now, and when more will be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llmsim.acceptance import Pace
from llmsim.engine.cache_nodes import Holding
from llmsim.request import Request


class Growth:
    """Reckons what requests that decode have filled of their paths."""

    __slots__ = ("_block_tokens", "_unknown", "pace_of", "steps_until_more")

    def __init__(self, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        self._unknown: Callable[[Request, int], int] | None = None
        self.pace_of: Callable[[Request], Pace | None] = _own_pace  #: of a decoding request
        #: decode steps until a request that was looked up may find more, since a scheduler was last asked
        self.steps_until_more: int | None = None

    def count_ahead(self, unknown: Callable[[Request, int], int]) -> None:
        """Have tokens of decoding requests counted that are not known yet, though their place in memory is taken."""
        self._unknown = unknown

    def places(self, holding: Holding, ahead: int) -> int:
        """Blocks of its path that a decoding request has filled, once `ahead` steps more are computed."""
        return min(self._tokens(holding, ahead) // self._block_tokens, holding.path.stops[-1])

    def in_order(self, growing: Sequence[Holding], ahead: int) -> list[tuple[Holding, int]]:
        """Blocks that these requests have filled and do not hold, in the order in which they became full."""
        size = self._block_tokens
        filled = []
        for holding in growing:
            tokens = self._tokens(holding, ahead)
            for place in range(holding.places + 1, min(tokens // size, holding.path.stops[-1]) + 1):
                filled.append((self._filled_at(holding, place, tokens), holding.order, place, holding))
        return [(holding, place) for _, _, place, holding in sorted(filled)]

    def note(self, growing: Sequence[Holding], ahead: int) -> None:
        """Note when one of these requests fills its next block."""
        size = self._block_tokens
        steps = min(self._steps_to(holding, (holding.places + 1) * size, ahead) for holding in growing)
        self.steps_until_more = min(steps, self.steps_until_more or steps)

    def _tokens(self, holding: Holding, ahead: int) -> int:
        """Tokens of a decoding request that are computed, and known, once `ahead` steps more are."""
        if holding.gave_back_at >= 0:
            return holding.gave_back_at
        tokens = holding.tokens(ahead)
        if self._unknown is None:
            return tokens
        assert holding.grows is not None
        return tokens - self._unknown(holding.grows, ahead)

    def _steps_to(self, holding: Holding, tokens: int, ahead: int) -> int:
        """Steps until so many tokens of a decoding request are known, beyond `ahead`."""
        request = holding.grows
        pace = None if request is None else self.pace_of(request)
        if request is None or pace is None or request.counter is None:
            return tokens - self._tokens(holding, ahead)
        return pace.step_that_knows(tokens) - request.counter.steps - ahead

    def _filled_at(self, holding: Holding, place: int, tokens: int) -> int:
        """When a block became full, to compare with others: in steps from any one of the instance."""
        pace, size = None if holding.grows is None else self.pace_of(holding.grows), self._block_tokens
        return place * size - tokens if pace is None else pace.step_that_knows(place * size)


def _own_pace(request: Request) -> Pace | None:
    return request.pace
