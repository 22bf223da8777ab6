"""Which KV blocks of which requests hold the same tokens, as paths down a tree whose nodes are many blocks long.

Requests that begin alike go down the same nodes for as many whole blocks as they agree in. A node ends only where paths
part: the turns of a conversation, each of which repeats those before it, are one node, however long it gets.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.workload.prefixes import Prefixes

Ints = NDArray[np.int64]
NO_END = 1 << 40  #: blocks; more than a request can have


class Path(NamedTuple):
    """Nodes from the root on, and after how many blocks of the request each of them ends; both rise."""

    nodes: list[int]
    stops: list[int]


NO_REQUEST = -1
NO_PATH = Path([], [])


class BlockPaths:
    """The paths of all requests of a workload, for one block size."""

    def __init__(self, prefixes: Prefixes | None, block_tokens: int) -> None:
        if prefixes is None:
            prefixes = Prefixes(*(np.zeros(0, dtype=np.int64),) * 2, np.zeros(1, dtype=np.int64))
        nodes, stops, start = _compressed(prefixes.recurring(), block_tokens)
        self._nodes, self._stops, self._start = nodes, stops, start.tolist()
        self._first_own = int(nodes.max(initial=-1)) + 1  # beyond those of texts: one for each request's own tokens
        self._own: dict[int, Path] = {}  # of requests that may find their own blocks again
        self._latest, self._path = NO_REQUEST, NO_PATH  # what was asked for last
        self._holders: dict[int, set[Any]] | None = None  # by first node: caches that have, or had, some of it

    def of(self, request: int) -> Path:
        """The blocks of a request that others may find, or it may find again itself."""
        if request != self._latest:  # it is asked for a few times in a row
            self._latest, self._path = request, self._path_of(request)
        return self._path

    def _path_of(self, request: int) -> Path:
        own = self._own.get(request)
        if own is not None:
            return own
        start = self._start
        if request + 1 >= len(start) or start[request] == start[request + 1]:
            return NO_PATH
        part = slice(start[request], start[request + 1])
        return Path(self._nodes[part].tolist(), self._stops[part].tolist())

    # Which caches have something of a path -----------------------------------------------------------------

    def note_holders(self) -> None:
        """Begin to note them: some router will ask."""
        self._holders = {}

    @property
    def notes_holders(self) -> bool:
        """Whether they are noted."""
        return self._holders is not None

    def note_holder(self, first: int, cache: object) -> None:
        """Note that a cache has something of the paths that begin with a node, or is about to."""
        if self._holders is not None:
            self._holders.setdefault(first, set()).add(cache)

    def forget_holder(self, first: int, cache: object) -> None:
        """Note that it has nothing of them any more."""
        if self._holders is not None:
            self._holders[first].discard(cache)

    def holders(self, request: int) -> list[Any]:
        """Caches in which a request may find something: in no others can it."""
        nodes = self.of(request).nodes
        return [*self._holders.get(nodes[0], ())] if nodes and self._holders is not None else []

    # Requests' own blocks ----------------------------------------------------------------------------------

    def add_own(self, request: int) -> Path:
        """Let all further blocks of a request be known as its own, so that it may find them; return its path."""
        path = self.of(request)
        if request not in self._own:
            path = self._own[request] = Path([*path.nodes, self._first_own + request], [*path.stops, NO_END])
            self._latest = NO_REQUEST
        return path

    def forget(self, request: int) -> None:
        """Note that a request has ended."""
        if self._own.pop(request, None) is not None:
            self._latest = NO_REQUEST


def _compressed(prefixes: Prefixes, block_tokens: int) -> tuple[Ints, Ints, Ints]:
    """Nodes and stops of all requests, one after another, and where those of each begin."""
    ids, ends, start = prefixes.ids, prefixes.ends, prefixes.start
    if not len(ids):
        return ids, ends, start
    owner = np.repeat(np.arange(len(start) - 1), np.diff(start))
    before = np.concatenate([[-1], ids[:-1]])  # the part that each one follows, -1: it is the first
    before[start[:-1][np.diff(start) > 0]] = -1
    begins = np.concatenate([[0], ends[:-1]])
    begins[before == -1] = 0
    parent, beginning = _parents(ids, before, begins)
    furthest = np.zeros(len(parent), dtype=np.int64)
    np.maximum.at(furthest, ids, ends)
    node = _merged(parent, beginning, furthest)[ids]
    stops = ends // block_tokens
    last = np.ones(len(ids), dtype=np.bool_)  # of a run of parts that have become one node
    last[:-1] = (owner[1:] != owner[:-1]) | (node[1:] != node[:-1])
    node, stops, owner = node[last], stops[last], owner[last]
    previous = np.concatenate([[0], stops[:-1]])
    previous[np.concatenate([[True], owner[1:] != owner[:-1]])] = 0
    kept = stops > previous  # a part that no block ends in has no blocks of its own
    counts = np.bincount(owner[kept], minlength=len(start) - 1)
    return node[kept], stops[kept], np.concatenate([[0], np.cumsum(counts)])


def _parents(ids: Ints, before: Ints, begins: Ints) -> tuple[Ints, Ints]:
    """The part before each part, and the token that it begins with. Raises InputError if requests disagree."""
    parent, beginning = np.full(int(ids.max()) + 1, -1), np.zeros(int(ids.max()) + 1, dtype=np.int64)
    parent[ids], beginning[ids] = before, begins
    odd = np.flatnonzero((parent[ids] != before) | (beginning[ids] != begins))
    if len(odd):
        raise InputError(f"prefixes: a part begins at token {begins[odd[0]]} of one request and elsewhere in another")
    return parent, beginning


def _merged(parent: Ints, beginning: Ints, furthest: Ints) -> Ints:
    """The node that each part belongs to: that of its parent, if nothing else ever follows the parent."""
    followers = np.bincount(parent[parent >= 0], minlength=len(parent))
    node = np.arange(len(parent))
    only = (parent >= 0) & (followers[parent] == 1) & (furthest[parent] <= beginning)
    node[only] = parent[only]
    while True:
        further = node[node]
        if np.array_equal(further, node):
            return node
        node = further
