"""Requests that sit steps out: their prefill is complete, they keep their memory, and emit nothing."""

from __future__ import annotations

from llmsim.request import Request


class Held(dict[int, Request]):
    """By id; and how many of them would take a KV block in their next step, counted as they come and go."""

    __slots__ = ("_at_an_edge", "_block_tokens")

    def __init__(self, block_tokens: int) -> None:
        super().__init__()
        self._block_tokens = block_tokens
        self._at_an_edge: set[int] = set()  # those whose last block is full

    @property
    def blocks_needed(self) -> int:
        """KV blocks that the next step takes if all of them emit a token."""
        return len(self._at_an_edge)

    def put(self, request: Request) -> None:
        """Hold a request that has left the batch."""
        request.held = True
        self[request.id] = request
        if request.computed_tokens % self._block_tokens == 0:
            self._at_an_edge.add(request.id)

    def take(self, id: int) -> Request:
        """Hold a request no longer; return it."""
        request = self.pop(id)
        request.held = False
        self._at_an_edge.discard(id)
        return request
