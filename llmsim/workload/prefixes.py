"""Which requests begin with the same tokens: what a prefix cache can find, told apart from how it finds it.

A request is cut into *parts* from its first token on. A part is named by a number that stands for all tokens up to its
end: two requests that name a part alike agree in everything before it and in as much of it as both have (the chained
block hashes of an engine, with parts of any length). Parts may run on over the output, which the next turn of a
conversation repeats. What lies beyond the last part is the request's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Prefixes:
    """The parts of N requests, P in all; those of request i are ``start[i]`` to ``start[i + 1]``."""

    ids: Ints  #: (P,) name of each part, not negative
    ends: Ints  #: (P,) tokens from the start of the request to the end of the part; they rise within a request
    start: Ints  #: (N + 1,) where the parts of each request begin

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.ends) or self.start[0] != 0 or self.start[-1] != len(self.ids):
            raise InputError("prefixes: ids, ends and start do not belong together")
        if (np.diff(self.start) < 0).any():
            raise InputError("prefixes: start must not fall")
        rises = np.diff(self.ends, prepend=0)
        first = self.start[:-1][np.diff(self.start) > 0]
        rises[first] = self.ends[first]
        if (rises < 1).any() or (self.ids < 0).any():
            raise InputError("prefixes: ends must rise within a request, and ids must not be negative")

    def __len__(self) -> int:
        return len(self.start) - 1

    def of(self, request: int) -> tuple[Ints, Ints]:
        """Names and ends of one request's parts."""
        parts = slice(self.start[request], self.start[request + 1])
        return self.ids[parts], self.ends[parts]

    def take(self, index: NDArray[np.int64]) -> Prefixes:
        """Select requests by number."""
        counts = np.diff(self.start)[index]
        start = np.concatenate([[0], np.cumsum(counts)])
        source = np.repeat(self.start[index] - start[:-1], counts) + np.arange(start[-1])
        return Prefixes(self.ids[source], self.ends[source], start)

    def recurring(self) -> Prefixes:
        """Leave out the parts that one request alone has, and number the others from 0.

        No other request can ever find them in a cache; and since a name stands for all that goes before, the parts
        that stay are the first of their request.
        """
        _, number, counts = np.unique(self.ids, return_inverse=True, return_counts=True)
        keep = counts[number] > 1
        start = np.concatenate([[0], np.cumsum(keep)])[self.start]
        _, ids = np.unique(number[keep], return_inverse=True)
        return Prefixes(ids.astype(np.int64), self.ends[keep], start)


def joined(groups: Sequence[tuple[Ints, Prefixes]]) -> Prefixes:
    """Join the prefixes of groups of requests that share nothing between them: (their numbers, their prefixes) each.

    The numbers of all groups together are 0, 1, ... N - 1.
    """
    first_ids = np.cumsum([0, *(int(prefixes.ids.max(initial=-1)) + 1 for _, prefixes in groups)])
    ids = np.concatenate([prefixes.ids + first for (_, prefixes), first in zip(groups, first_ids, strict=False)])
    ends = np.concatenate([prefixes.ends for _, prefixes in groups])
    counts = np.concatenate([np.diff(prefixes.start) for _, prefixes in groups])
    together = Prefixes(ids, ends, np.concatenate([[0], np.cumsum(counts)]))
    return together.take(np.argsort(np.concatenate([numbers for numbers, _ in groups])))


def chained(parts: Iterable[Iterable[int]]) -> list[int]:
    """Name each part by itself and all parts before it: equal names only after equal beginnings."""
    names: dict[tuple[int, int], int] = {}
    out: list[int] = []
    for request in parts:
        before = -1
        for part in request:
            before = names.setdefault((before, part), len(names))
            out.append(before)
    return out


def seen_before(prefixes: Prefixes) -> NDArray[np.bool_]:
    """Whether an earlier request has named a part, (P,): what a cache without limits would hold of it."""
    _, first = np.unique(prefixes.ids, return_index=True)
    seen = np.ones(len(prefixes.ids), dtype=np.bool_)
    seen[first] = False
    return seen
