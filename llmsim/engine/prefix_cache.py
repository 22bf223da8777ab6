"""KV memory that remembers what its blocks hold: prefix caching, exactly as vLLM's V1 engine does it.

What is kept, and in which order it is evicted: block_cache.py. What waiting requests would find if others went before
them is tried out while a scheduler asks, and taken back if it is not what is decided (cached_step.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmsim.engine.block_cache import BlockCache
from llmsim.engine.block_paths import BlockPaths
from llmsim.engine.cached_step import CachedStep
from llmsim.engine.memory import CachingMemory, Portion
from llmsim.errors import PolicyError
from llmsim.scheduler import Admission, Beginnings, Decision


class PrefixCache(BlockCache, CachingMemory):
    """Cached blocks, and the step that is being tried out on them."""

    __slots__ = ("_step",)

    in_turn = True

    def __init__(self, total_blocks: int, block_tokens: int, paths: BlockPaths) -> None:
        super().__init__(total_blocks, block_tokens, paths)
        self._step: CachedStep | None = None

    # Asked by a scheduler ----------------------------------------------------------------------------------

    def ask(self) -> None:
        """Forget what there was to wait for when the scheduler was last asked."""
        self._growth.steps_until_more = None

    def steps_until_more(self) -> int | None:
        """Decode steps until a request that was looked up may find more: one that decodes fills a block."""
        return self._growth.steps_until_more

    def admission(self, chunks: Sequence[Portion], decode_blocks: int, decode: bool) -> Admission:
        """Ask what waiting requests find, admitted one after another in one step."""
        return CachedStep(self, self._try_out, decode, decode_blocks, chunks)

    def _try_out(self, step: CachedStep) -> None:
        """Do what a step does, if that is not done already; another one is taken back first."""
        if self._step is not step:
            self.take_back()
            self.begin_trial()
            self._step = step
            step.do()

    def beginnings(self) -> Beginnings:
        """Blocks are found by their hashes: no policy that goes with this cache compares requests."""
        raise PolicyError('beginnings of requests are compared by the radix cache, expected prefix_cache = "radix"')

    def freed_by(self, computed_tokens: Mapping[int, int]) -> int:
        """How many blocks become free if these running requests (id -> tokens in memory) give theirs back."""
        self.take_back()
        self.begin_trial()
        before = self.free_blocks
        for id, tokens in computed_tokens.items():
            self.release(id, tokens)
        freed = self.free_blocks - before
        self.end_trial(stands=False)
        return freed

    # As decided --------------------------------------------------------------------------------------------

    def take_back(self) -> None:
        """Be as if no step had been tried out."""
        if self._step is not None:
            self.end_trial(stands=False)
            self._step = None

    def begin_step(
        self, decision: Decision, chunks: Sequence[Portion], admitted: Sequence[Portion], decode_blocks: int
    ) -> None:
        """Let the step that was tried out stand, if it is what has been decided; else take it back, and do this one."""
        if self._step is not None and self._step.does(decision.decode, decode_blocks, chunks, admitted):
            self.end_trial(stands=True)
            self._step = None
        else:
            self.take_back()
            CachedStep(self, self._try_out, decision.decode, decode_blocks, chunks, admitted).do()

    def attach(self, request: int, tokens: int) -> int:
        """Hold what a request finds that has `tokens` to compute, unless it does; return how many it is spared."""
        if not self.holds(request):
            self.hold(request, self.cached_blocks(request, tokens))
        return self.found_tokens(request)

    def fill(self, request: int, tokens: int) -> None:
        """Make known the blocks that are full with so many tokens of a request."""
        self.make_known(request, tokens)

    def retract(self, request: int, computed_tokens: int, others: int) -> None:
        """Take back what a preempted request holds; it may find its full blocks when it is resumed."""
        self.name_own(request)
        self.release(request, computed_tokens)
