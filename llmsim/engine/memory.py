"""KV memory of one instance, in blocks. It counts; it raises rather than overrun."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from llmsim.acceptance import Pace
from llmsim.errors import MemoryOverrun
from llmsim.request import Request, RequestView
from llmsim.scheduler import Admission, Beginnings, Decision

#: a request, and how many tokens of it a step is to compute
Portion = tuple[RequestView, int]


class KVMemory:
    """Blocks of `block_tokens` tokens each. A block belongs to one request."""

    __slots__ = ("block_tokens", "free_blocks", "total_blocks")

    def __init__(self, total_blocks: int, block_tokens: int = 16) -> None:
        self.total_blocks = total_blocks
        self.block_tokens = block_tokens
        self.free_blocks = total_blocks

    def blocks_for(self, tokens: int) -> int:
        """Blocks that hold this many tokens of one request."""
        return -(-tokens // self.block_tokens)

    def release(self, request: int, computed_tokens: int) -> None:
        """Take back what a request holds that has computed so many tokens."""
        self.free_blocks -= -computed_tokens // self.block_tokens  # rounded up
        if self.free_blocks > self.total_blocks:
            raise self._too_many()

    def retract(self, request: int, computed_tokens: int, others: int) -> None:
        """Take back what a preempted request holds, while `others` go on running."""
        self.release(request, computed_tokens)

    def release_tail(self, computed_tokens: int, known_tokens: int) -> None:
        """Take back the blocks of a request, the last one first, that no token which is known is in."""
        self.give_back(-(-computed_tokens // self.block_tokens) - -(-known_tokens // self.block_tokens))

    def take(self, blocks: int) -> None:
        """Hand out blocks. Raises `MemoryOverrun` if there are not as many."""
        if blocks > self.free_blocks:
            raise MemoryOverrun(f"{blocks} KV blocks taken, {self.free_blocks} of {self.total_blocks} free")
        self.free_blocks -= blocks

    def give_back(self, blocks: int) -> None:
        """Take blocks back. Raises `MemoryOverrun` if more come back than went out."""
        self.free_blocks += blocks
        if self.free_blocks > self.total_blocks:
            raise self._too_many()

    def _too_many(self) -> MemoryOverrun:
        return MemoryOverrun(f"{self.free_blocks} KV blocks free of {self.total_blocks}")


class CachingMemory(KVMemory, ABC):
    """KV memory that remembers what its blocks hold: what a request finds there it need not compute.

    A request holds what it finds when it is admitted (`begin_step`, `attach`) and takes blocks for each chunk (`take`).
    It may leave something to find when a chunk is decided or `computed`, and when it leaves (`release`, `retract`).
    """

    __slots__ = ()

    #: whether requests take their memory one after another, in order of admission, and victims give theirs back only
    #: when it is needed
    in_turn: ClassVar[bool] = False
    #: whether `computed` matters: prompts are found once they are computed, not while they are
    learns_when_computed: ClassVar[bool] = False
    #: whether what is computed beyond the end of a sequence, in vain, is kept like all else
    keeps_in_vain: ClassVar[bool] = False

    def count_ahead(self, unknown: Callable[[Request, int], int]) -> None:
        """Have tokens of decoding requests counted that are not known yet, though their place in memory is taken.

        `unknown` says how many of a request when so many steps are decided beyond those that are counted.
        """

    def foresee(self, pace_of: Callable[[Request], Pace | None]) -> None:
        """Ask this for the pace of a decoding request, where what its steps will yield is not to be seen of itself."""

    @abstractmethod
    def cached_blocks(self, request: int, tokens: int, ahead: int = 0) -> int:
        """How many blocks a request finds if it has `tokens` to compute: all but the last one may be found.

        `ahead`: decode steps that have begun, or are about to, beyond those that are counted.
        """

    @abstractmethod
    def admission(self, chunks: Sequence[Portion], decode_blocks: int, decode: bool) -> Admission:
        """Ask what waiting requests find in a step, admitted one after another beside these `chunks`.

        `decode`: whether requests decode in it, for which they take `decode_blocks`.
        """

    def ask(self) -> None:  # not all caches care
        """Note that a scheduler is about to be asked."""

    def steps_until_more(self) -> int | None:
        """Decode steps after which a request may find more than the scheduler was told; None: it won't."""
        return None

    def take_back(self) -> None:
        """Be as before a scheduler has asked."""

    @abstractmethod
    def begin_step(
        self, decision: Decision, chunks: Sequence[Portion], admitted: Sequence[Portion], decode_blocks: int
    ) -> None:
        """Let admitted requests hold what they find; blocks are handed out later (`take`)."""

    @abstractmethod
    def beginnings(self) -> Beginnings:
        """Compare requests with each other."""

    @abstractmethod
    def freed_by(self, computed_tokens: Mapping[int, int]) -> int:
        """How many blocks become free if these running requests (id -> tokens in memory) give theirs back."""

    def look_up(self, request: int, tokens: int) -> None:  # not all caches care
        """Note that the first `tokens` tokens of a waiting request were looked for."""

    @abstractmethod
    def attach(self, request: int, tokens: int) -> int:
        """Hold what a request finds that has `tokens` to compute, unless it does; return how many it is spared."""

    def fill(self, request: int, tokens: int) -> None:
        """Note that the keys and values of a request have come from elsewhere up to here."""

    def decodes(self, request: Request) -> None:
        """Note that a request decodes from now on."""

    def computed(self, request: int, tokens: int) -> None:
        """Note that a prompt, and what was emitted before a preemption, is computed up to here."""

    @abstractmethod
    def evict_ahead(self, blocks: int) -> None:
        """Forget now what the next `blocks` blocks hold: they are as good as handed out (steps under way)."""

    @abstractmethod
    def forget(self, request: int) -> None:
        """Note that a request has ended."""

    @abstractmethod
    def check(self) -> None:
        """Raise `MemoryOverrun` unless it is whole, once no request is left."""


class _NoCache:
    """Where there is no prefix cache (scheduler.Admission, scheduler.Beginnings)."""

    __slots__ = ()

    def found(self, request: RequestView) -> tuple[int, int]:
        return 0, 0

    def longest(self, request: RequestView) -> int:
        return 0

    def add(self, request: RequestView, tokens: int = 0) -> None:
        pass


NO_CACHE = _NoCache()
