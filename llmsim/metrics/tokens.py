"""For metrics that must see every token: requests expanded in bounded chunks, and marched through in step.

Memory is bounded by the chunk (4 M tokens by default), time grows with the tokens, in vectorised operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from llmsim.metrics.ranges import Layout, layout
from llmsim.record import Floats, Ints, Timelines, expand

CHUNK_TOKENS = 4_000_000


@dataclass(frozen=True, eq=False)
class Chunk:
    """All tokens of the R requests `requests`, one after another."""

    requests: Ints  #: (R,) consecutive request indices, each with at least one token
    times_s: Floats  #: (L,) token times, absolute seconds
    begin: Ints  #: (R,) where each request's tokens begin in times_s
    n_tokens: Ints  #: (R,)

    def index(self) -> Ints:
        """Place of every token within its request, i = 1..n, (L,)."""
        return np.arange(1, len(self.times_s) + 1) - np.repeat(self.begin, self.n_tokens)

    def columns(self) -> tuple[Ints, Iterator[Floats]]:
        """(requests by falling length, then for i = 1, 2, … the i-th token times of those that have one).

        The i-th array covers a prefix of the returned requests, so that a recurrence over tokens updates
        `state[:m]`.
        """
        order = np.argsort(-self.n_tokens, kind="stable")
        return self.requests[order], self._march(order)

    def _march(self, order: Ints) -> Iterator[Floats]:
        begin, lengths = self.begin[order], self.n_tokens[order]
        alive = np.searchsorted(-lengths, -np.arange(1, lengths[0] + 1), side="right")
        for i, m in enumerate(alive.tolist()):
            yield self.times_s[begin[:m] + i]


def token_chunks(timelines: Timelines, chunk_tokens: int = CHUNK_TOKENS) -> Iterator[Chunk]:
    """Expand the requests that have tokens, at most `chunk_tokens` at a time (longer ones alone)."""
    rows = layout(timelines)
    requests = np.flatnonzero(rows.n_tokens)
    through = np.cumsum(rows.n_tokens[requests])
    lo = 0
    while lo < len(requests):
        done = through[lo - 1] if lo else 0
        hi = max(lo + 1, int(np.searchsorted(through, done + chunk_tokens, side="right")))
        yield _expand(timelines, rows, requests[lo:hi])
        lo = hi


def _expand(timelines: Timelines, rows: Layout, requests: Ints) -> Chunk:
    segments = slice(rows.segments_before[requests[0]], rows.segments_before[requests[-1] + 1])
    paces = None if rows.paces is None else rows.paces.take(segments)
    times_s, _ = expand(timelines.times_s, rows.head_s[segments], rows.start[segments], rows.count[segments], paces)
    n = rows.n_tokens[requests]
    return Chunk(requests, times_s, np.cumsum(n) - n, n)
