"""A radix tree of the beginnings of requests, in KV blocks: what SGLang's prefix cache keeps them in.

A node stands for a run of blocks that follow those of its parent. They are kept as *spans*, not one by one: a span has
a name that says what its blocks hold together with all before them (workload/prefixes.py), and an end. Nodes are locked
while a request uses them; leaves without a lock are evicted whole, the one that was touched longest ago first.
Everything costs O(spans on the path), however many blocks they have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple

_STALE_ENTRIES = 64  #: so many more than nodes may the heap of candidates have


class Spans(NamedTuple):
    """What the blocks of a request hold, from its first one on."""

    names: Sequence[int]
    ends: Sequence[int]  #: blocks from the start of the request to the end of each span; they rise
    prompt: int  #: blocks of its prompt


class Node:
    """Blocks `start` to `end` of the requests whose path leads through here."""

    __slots__ = ("children", "end", "ends", "locks", "names", "parent", "stamp", "start")

    def __init__(self, parent: Node | None, start: int, names: Sequence[int], ends: Sequence[int]) -> None:
        self.parent = parent  #: None: the root, or evicted
        self.start = start
        self.names = names
        self.ends = ends
        self.end = ends[-1] if ends else start
        self.children: dict[int, Node] = {}  #: by the name of their first span
        self.locks = 0
        self.stamp = 0  #: when it was last touched; no two nodes have the same

    @property
    def blocks(self) -> int:
        """How many blocks it has itself."""
        return self.end - self.start

    @property
    def evictable(self) -> bool:
        """Whether it may go: a leaf that no request uses."""
        return not (self.children or self.locks or self.parent is None)

    def agrees(self, spans: Spans, span: int, upto: int) -> tuple[int, int]:
        """Follow a request from one of its spans on; return where it parts or is at `upto`, and its span there."""
        names, ends, _ = spans
        place, own = self.start, 0
        while own < len(self.names) and place < upto and names[span] == self.names[own]:
            place = min(self.ends[own], ends[span])
            own += self.ends[own] == place
            span += ends[span] == place
        return min(place, upto), span


class RadixTree:
    """Nodes with locks and an order of eviction."""

    def __init__(self) -> None:
        self.root = Node(None, 0, (), ())
        self._nodes = 0
        self._stamps = 0
        #: leaves by stamp, the first to be evicted on top; entries of leaves that have changed since are stale
        self._candidates: list[tuple[int, int, Node]] = []
        self._entries = 0
        self.unlocked_blocks = 0  #: of nodes that no request uses: they can all be evicted, from the leaves on

    # Looking -----------------------------------------------------------------------------------------------

    def path(self, spans: Spans, upto: int) -> Iterator[tuple[Node, int]]:
        """The nodes that hold the first `upto` blocks, as far as they are there, with so many blocks of each."""
        node, place, span = self.root, 0, 0
        while place < upto and (child := node.children.get(spans.names[span])) is not None:
            reached, span = child.agrees(spans, span, upto)
            yield child, reached - place
            if reached < child.end:
                return
            node, place = child, reached

    def found(self, spans: Spans, upto: int) -> int:
        """How many of the first `upto` blocks are there."""
        return sum(blocks for _, blocks in self.path(spans, upto))

    def blocks(self) -> int:
        """How many blocks there are. Walks the whole tree."""
        nodes, blocks = [self.root], 0
        while nodes:
            node = nodes.pop()
            blocks += node.blocks
            nodes += node.children.values()
        return blocks

    # Touching, and putting in ------------------------------------------------------------------------------

    def match(self, spans: Spans, upto: int) -> Node:
        """Touch the path of the first `upto` blocks from the root on, and split a node where it ends within."""
        path = [self.root]
        for node, blocks in self.path(spans, upto):
            path.append(node if blocks == node.blocks else self._split(node, node.start + blocks))
        for node in path:
            self._touch(node)
        return path[-1]

    def insert(self, spans: Spans, upto: int) -> int:
        """Put the first `upto` blocks in; return how many were there before.

        If they are more than the prompt's, a node ends with the prompt: the output can be evicted without it.
        """
        node = self.match(spans, upto)
        there = node.end
        if there < upto:
            names, ends = _cut(spans.names, spans.ends, there, upto)
            node.children[names[0]] = leaf = Node(node, there, names, ends)
            self._nodes += 1
            self.unlocked_blocks += leaf.blocks
            self._touch(leaf)
        if spans.prompt < upto:
            for node, blocks in self.path(spans, spans.prompt):
                if blocks < node.blocks:
                    self._split(node, node.start + blocks)
        return there

    def _split(self, node: Node, at: int) -> Node:
        """Cut a node in two, both touched; return the upper one."""
        assert node.parent is not None
        names, ends = node.names, node.ends
        upper = Node(node.parent, node.start, *_cut(names, ends, node.start, at))
        upper.locks = node.locks
        node.parent.children[names[0]] = upper
        node.names, node.ends = _cut(names, ends, at, node.end)
        node.start, node.parent = at, upper
        upper.children[node.names[0]] = node
        self._nodes += 1
        self._touch(upper)
        self._touch(node)
        return upper

    def _touch(self, node: Node) -> None:
        self._stamps += 1
        node.stamp = self._stamps
        self._consider(node)

    # Locks and eviction ------------------------------------------------------------------------------------

    def lock(self, node: Node) -> None:
        """Keep a node and all above it."""
        while node.parent is not None:
            if not node.locks:
                self.unlocked_blocks -= node.blocks
            node.locks += 1
            node = node.parent

    def unlock(self, node: Node) -> None:
        """Take a lock back."""
        while node.parent is not None:
            node.locks -= 1
            if not node.locks:
                self.unlocked_blocks += node.blocks
                self._consider(node)
            node = node.parent

    def evict(self, blocks: int) -> int:
        """Evict leaves until so many blocks are free, or none is left that may go; return how many are free."""
        freed = 0
        while freed < blocks and self._candidates:
            stamp, _, node = heappop(self._candidates)
            if stamp != node.stamp or not node.evictable:
                continue
            parent = node.parent
            assert parent is not None
            del parent.children[node.names[0]]
            node.parent = None
            freed += node.blocks
            self._nodes -= 1
            self._consider(parent)
        self.unlocked_blocks -= freed
        return freed

    def _consider(self, node: Node) -> None:
        """Queue a node for eviction, if it may go."""
        if not node.evictable:
            return
        self._entries += 1
        heappush(self._candidates, (node.stamp, self._entries, node))
        if len(self._candidates) > 2 * self._nodes + _STALE_ENTRIES:
            current = {entry[2]: entry for entry in self._candidates if entry[0] == entry[2].stamp}
            self._candidates = [entry for node, entry in current.items() if node.evictable]
            heapify(self._candidates)


def _cut(names: Sequence[int], ends: Sequence[int], start: int, end: int) -> tuple[Sequence[int], Sequence[int]]:
    """Names and ends of the spans between two places."""
    first = next(i for i, upto in enumerate(ends) if upto > start)
    last = next(i for i, upto in enumerate(ends) if upto >= end)
    return names[first : last + 1], (*ends[first:last], end)
