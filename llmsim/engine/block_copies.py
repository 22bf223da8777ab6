"""Blocks that several requests have computed: every copy is known, the oldest is found, each is evicted by itself.

They are rare: the last block of a prompt of whole blocks is computed anew by each request that has it, and requests
that run side by side may generate the same. Where there are copies of a block, each of them is an object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmsim.engine.block_paths import Path
from llmsim.engine.cache_nodes import Copy, Holding, Node, Run
from llmsim.engine.free_queue import FreeQueue
from llmsim.engine.undo import Undo

UNKNOWN = -1  #: owner of a block that was there before there were copies of it


class Copies:
    """All places of which there are several copies."""

    __slots__ = ("_holdings", "_nodes", "_queue", "_undo", "places")

    def __init__(
        self, nodes: Mapping[int, Node], holdings: Mapping[int, Holding], queue: FreeQueue, undo: Undo
    ) -> None:
        self.places = 0  #: how many there are
        self._nodes = nodes
        self._holdings = holdings
        self._queue = queue
        self._undo = undo

    def add(self, holding: Holding, node: Node, at: int, first: int, last: int) -> None:
        """Note that a request has computed blocks `first` to `last` of a node again, which are known already."""
        for place in range(first, last):
            if place not in node.copies:
                self.places += 1
                if place < node.held:
                    users = sum(other.holds(at, node.number, place) for other in self._holdings.values())
                    node.copies[place] = [Copy(UNKNOWN, users)]
                else:
                    node.copies[place] = [self._taken_out(node, place)]
            node.copies[place].append(Copy(holding.id, 1))

    def _taken_out(self, node: Node, place: int) -> Copy:
        """Let a free block of a run be a run of its own, for there are copies of it now."""
        at = next(n for n, run in enumerate(node.runs) if run.low <= place < run.high)
        run = node.runs[at]
        copy = Copy(UNKNOWN, 0)
        copy.run = Run(place, place + 1, node, copy)
        parts = [Run(place + 1, run.high, node), copy.run, Run(run.low, place, node)]
        for part in parts:
            if part.high > part.low:
                self._queue.insert(part, run)
        self._queue.remove(run)
        node.runs[at : at + 1] = [part for part in parts if part.high > part.low and part.copy is None]
        return copy

    def hold(self, holding: Holding) -> int:
        """Let a request hold the oldest copy of each block that it has found; return how many were free."""
        if not self.places:
            return 0
        free = 0
        for number, stop in zip(*holding.path, strict=True):
            for place, copies in self._nodes[number].copies.items() if number in self._nodes else ():
                if place < min(stop, holding.places):
                    copy = copies[0]
                    copy.save(self._undo)
                    copy.users += 1
                    if copy.run is not None:
                        self._queue.remove(copy.run)
                        copy.run = None
                        free += 1
        return free

    def release(self, holding: Holding, at: int, end: int) -> int:
        """Queue up what a request gives back of a node on its path, `held` to `end` and copies; return how many."""
        node, stop = self._nodes[holding.path.nodes[at]], min(holding.path.stops[at], holding.places)
        free, high = 0, end
        for place in sorted((place for place in node.copies if place < stop), reverse=True):
            if high > node.held:
                free += self._queue_up(node, max(place + 1, node.held), high)
                high = max(place, node.held)
            copy = self._held_by(holding, node.copies[place])
            copy.save(self._undo)
            copy.users -= 1
            if not copy.users:
                copy.run = Run(place, place + 1, node, copy)
                self._queue.append(copy.run)
                free += 1
        return free + self._queue_up(node, node.held, high)

    def _queue_up(self, node: Node, low: int, high: int) -> int:
        if high <= low:
            return 0
        run = Run(low, high, node)
        node.runs.append(run)
        self._queue.append(run)
        return high - low

    @staticmethod
    def _held_by(holding: Holding, copies: Sequence[Copy]) -> Copy:
        """The one that a request has computed itself, or the oldest."""
        own = (copy for copy in copies[1:] if copy.owner == holding.id and copy.users)
        return next(own, copies[0])

    def idle_oldest(self, path: Path, places: int) -> int:
        """Of how many of the first `places` blocks, all held by requests, the copy that is found is not."""
        if not self.places:
            return 0
        idle = 0
        for number, stop in zip(*path, strict=True):
            for place, copies in self._nodes[number].copies.items() if number in self._nodes else ():
                idle += place < min(stop, places) and not copies[0].users
        return idle

    def evict(self, run: Run) -> None:
        """Forget a copy that is handed out; the last one left is a block like others."""
        node, place, copy = run.node, run.low, run.copy
        assert node is not None
        assert copy is not None
        node.save(self._undo)
        copies = node.copies[place]
        copies.remove(copy)
        if len(copies) > 1:
            return
        self.places -= 1
        del node.copies[place]
        left = copies[0].run
        if left is not None:
            left.save(self._undo)
            left.copy = None
            node.runs.append(left)
            node.runs.sort(key=lambda run: -run.low)
