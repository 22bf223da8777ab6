"""KV memory of one instance, in blocks. It counts; it raises rather than overrun."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from llmsim.errors import MemoryOverrun
from llmsim.request import RequestView
from llmsim.scheduler import Admission, Beginnings


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
        self.give_back(-(-computed_tokens // self.block_tokens))

    def retract(self, request: int, computed_tokens: int, others: int) -> None:
        """Take back what a preempted request holds, while `others` go on running."""
        self.release(request, computed_tokens)

    def take(self, blocks: int) -> None:
        """Hand out blocks. Raises `MemoryOverrun` if there are not as many."""
        if blocks > self.free_blocks:
            raise MemoryOverrun(f"{blocks} KV blocks taken, {self.free_blocks} of {self.total_blocks} free")
        self.free_blocks -= blocks

    def give_back(self, blocks: int) -> None:
        """Take blocks back. Raises `MemoryOverrun` if more come back than went out."""
        self.free_blocks += blocks
        if self.free_blocks > self.total_blocks:
            raise MemoryOverrun(f"{self.free_blocks} KV blocks free of {self.total_blocks}")


class CachingMemory(KVMemory, ABC):
    """KV memory that remembers what its blocks hold: what a request finds there it need not compute.

    A request holds what it finds when it is admitted (`attach`), takes blocks for each chunk (`take`, `fill`), and may
    leave something to find when the chunk is computed (`computed`) and when it leaves (`release`, `retract`).
    """

    __slots__ = ()

    @abstractmethod
    def cached_blocks(self, request: int, tokens: int) -> int:
        """How many blocks a request finds if it has `tokens` to compute: all but the last one may be found."""

    @abstractmethod
    def admission(self) -> Admission:
        """Ask what waiting requests find, admitted one after another in one step."""

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
        """Hold what a request finds that has `tokens` to compute; return how many of them it is spared, all told."""

    def fill(self, request: int, computed_tokens: int) -> None:
        """Note that a request's memory is taken up to here, and its keys and values are being computed."""

    def computed(self, request: int, tokens: int) -> None:
        """Note that a prompt, and what was emitted before a preemption, is computed up to here."""

    @abstractmethod
    def evict_ahead(self, blocks: int) -> None:
        """Forget now what the next `blocks` blocks hold: they are as good as handed out (a stretch under way)."""

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
