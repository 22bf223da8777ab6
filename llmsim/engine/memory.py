"""KV memory of one instance, in blocks. It counts; it raises rather than overrun."""

from __future__ import annotations

from llmsim.errors import MemoryOverrun


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
