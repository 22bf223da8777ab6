"""What a step does to a prefix cache, tried out while a scheduler decides, and carried out or taken back afterwards.

In vLLM requests of one step are handled one by one: those that decode take, and evict, first; then each waiting request
is looked up, holds what it has found, and takes the rest; then the next one is looked up. A scheduler has to know what
each would find, so all this is done when it asks. If it decides as it has asked, nothing is left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llmsim.engine.block_cache import BlockCache
from llmsim.engine.memory import Portion
from llmsim.request import RequestView

NOTHING = (-1, 0)


class CachedStep:
    """One step of one instance (scheduler.Admission)."""

    __slots__ = ("_admitted", "_cache", "_chunks", "_decode_blocks", "_decodes", "_latest", "_needed", "_try_out")

    def __init__(
        self,
        cache: BlockCache,
        try_out: Callable[[CachedStep], None],
        decodes: bool,
        decode_blocks: int,
        chunks: Sequence[Portion],
        admitted: Sequence[Portion] = (),
    ) -> None:
        self._cache = cache
        self._try_out = try_out
        self._decodes = decodes  # whether requests decode in it
        self._decode_blocks = decode_blocks if decodes else 0
        self._chunks = chunks  # of requests that run
        self._admitted = list(admitted)
        self._needed = 0  # blocks that are taken
        self._latest = NOTHING  # the request that was looked up last, and the blocks that it would find

    def does(self, decodes: bool, decode_blocks: int, chunks: Sequence[Portion], admitted: Sequence[Portion]) -> bool:
        """Whether it does the same as one that is made so."""
        same = self._decodes == decodes and (self._decode_blocks == decode_blocks or not decodes)
        return same and self._admitted == [*admitted] and [*self._chunks] == [*chunks]

    def found(self, request: RequestView) -> tuple[int, int]:
        """Tokens that the request need not compute, and how many of their blocks are in use already."""
        cache = self._cache
        self._try_out(self)
        blocks = cache.cached_blocks(request.id, request.tokens_to_prefill, self._decodes)
        self._latest = request.id, blocks
        return blocks * cache.block_tokens, cache.blocks_in_use(request.id, blocks) if blocks else 0

    def add(self, request: RequestView, tokens: int) -> None:
        """Go on from where a waiting request computes so many tokens in this step."""
        self._try_out(self)
        self._admitted.append((request, tokens))
        self._admit(request, tokens)

    def do(self) -> None:
        """Do all of it from the start."""
        self._needed, self._latest = 0, NOTHING
        self._take(self._decode_blocks)
        for request, tokens in self._chunks:
            self._compute(request.id, request.computed_tokens, tokens)
        for request, tokens in self._admitted:
            self._admit(request, tokens)

    def _admit(self, request: RequestView, tokens: int) -> None:
        cache, id, left = self._cache, request.id, request.tokens_to_prefill
        latest, blocks = self._latest
        if latest != id:
            blocks = cache.cached_blocks(id, left, self._decodes)
        self._latest = NOTHING
        cache.hold(id, blocks)
        computed = blocks * cache.block_tokens
        self._compute(id, computed, min(tokens, left - computed))

    def _compute(self, id: int, computed: int, tokens: int) -> None:
        cache = self._cache
        self._take(cache.blocks_for(computed + tokens) - cache.blocks_for(computed))
        if self._needed <= cache.free_blocks:
            cache.make_known(id, computed + tokens, self._decodes)

    def _take(self, blocks: int) -> None:
        self._needed += blocks
        if self._needed <= self._cache.free_blocks:  # else the engine will say so, if that is what is decided
            self._cache.evict_ahead(self._needed)
