"""KV blocks that hold texts, exactly as vLLM's V1 engine keeps them (block_pool.py), in runs.

Only full blocks are found again, and a request finds as many as it has in one piece from its start, but never the block
of its last token: something must be computed to yield the next one. Blocks are known from the moment their computation
is scheduled. Blocks that no request holds wait in a queue until they are handed out anew, and only then are they
forgotten. When a request gives its blocks back, the last one goes to the head of this queue if it is not full, and all
others to its end, the deepest first. Two requests may compute the same block twice: both copies are known, the older
one is found, and each goes its own way.

Blocks are not looked at one by one. What is in memory of a text is told by a few numbers for each node of the tree of
texts (cache_nodes.py), and blocks that came back together are one run of the queue (free_queue.py). So a request costs
what it adds and gives back, in runs, however long its history is. Only copies are kept block by block.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable

from llmsim.acceptance import Pace
from llmsim.engine.block_copies import Copies
from llmsim.engine.block_growth import Growth
from llmsim.engine.block_paths import BlockPaths, Path
from llmsim.engine.cache_nodes import Holding, Node, Run
from llmsim.engine.free_queue import FreeQueue
from llmsim.engine.memory import KVMemory
from llmsim.engine.undo import Undo
from llmsim.errors import MemoryOverrun
from llmsim.request import Request

ROOT = -1


class BlockCache(KVMemory):
    """Blocks of texts, which requests hold, and an order of eviction."""

    __slots__ = (
        "_copies",
        "_growing",
        "_growth",
        "_holdings",
        "_nodes",
        "_order",
        "_paths",
        "_queue",
        "_reserved",
        "_undo",
    )

    def __init__(self, total_blocks: int, block_tokens: int, paths: BlockPaths) -> None:
        super().__init__(total_blocks, block_tokens)
        self._paths = paths
        self._undo = Undo()
        self._queue = FreeQueue(total_blocks, self._undo)
        #: what is in memory, by number of the node; a request that holds nothing yet is at the root
        self._nodes: dict[int, Node] = {ROOT: Node(ROOT, 0)}
        self._holdings: dict[int, Holding] = {}  # by request
        self._copies = Copies(self._nodes, self._holdings, self._queue, self._undo)
        self._order = 0
        self._growing = 0  # requests that decode and make more known
        self._reserved = 0  # of the free blocks: as good as handed out, and in the queue no more
        self._growth = Growth(block_tokens)

    # Looking -----------------------------------------------------------------------------------------------

    def cached_blocks(self, request: int, tokens: int, ahead: int = 0) -> int:
        """How many blocks a request finds if it has `tokens` to compute."""
        path = nodes, stops = self._paths.of(request)
        most = min(stops[-1], (tokens - 1) // self.block_tokens) if stops else 0
        if not most:
            return 0
        growing = self._settle(path, ahead)
        known = self._nodes
        if nodes[-1] in known:
            at = len(nodes) - 1
        else:
            at = bisect_left(nodes, True, key=lambda number: number not in known) - 1
        found = min(known[nodes[at]].known, stops[at], most) if at >= 0 else 0
        if found < most and growing:
            self._growth.note(growing, ahead)
        return found

    def blocks_in_use(self, id: int, blocks: int) -> int:
        """How many of the blocks that a request finds others hold; the rest is free until it is admitted."""
        nodes, stops = self._paths.of(id)
        at = bisect_left(stops, blocks)
        while at >= 0 and blocks:
            node = self._nodes[nodes[at]]
            if node.ends:
                held = min(node.held, stops[at], blocks)
                return held - self._copies.idle_oldest(Path(nodes, stops), held)
            at -= 1
        return 0

    @property
    def paths(self) -> BlockPaths:
        """The paths of all requests: caches of one block size share them."""
        return self._paths

    def found_nothing(self, request: int) -> None:
        """Hear that a request finds nothing here: this is no holder of its path if its beginning is not in memory."""
        first = self._paths.of(request).nodes[0]
        if first not in self._nodes and not self._nodes[ROOT].growing:
            self._paths.forget_holder(first, self)

    # A request's way ---------------------------------------------------------------------------------------

    def hold(self, id: int, blocks: int) -> None:
        """Admit a request, and hold the first so many blocks of it, which it has found."""
        self._order += 1
        holding = self._put(Holding(id, self._paths.of(id), self._order, blocks))
        if not blocks:
            return
        nodes, stops = holding.path
        holding.places, holding.at = blocks, bisect_left(stops, blocks)
        at, end = holding.at, blocks
        while True:
            node = self._saved(nodes[at])
            was_in_use = bool(node.ends)
            insort(node.ends, end)
            if end > node.held:
                self._touch(node, end)
            if was_in_use or not at:
                break
            at, end = at - 1, node.first
        self.free_blocks -= self._copies.hold(holding)

    def holds(self, id: int) -> bool:
        """Whether a request has been admitted."""
        return id in self._holdings

    def found_tokens(self, id: int) -> int:
        """Tokens that a request had found when it was admitted."""
        return self._holdings[id].found * self.block_tokens

    def _touch(self, node: Node, end: int) -> None:
        """Take blocks up to `end` out of the queue."""
        node.held = end
        runs = node.runs
        while runs and runs[-1].low < end:
            run = runs[-1]
            if run.high > end:
                run.save(self._undo)
                self.free_blocks -= end - run.low
                run.low = end
                return
            self.free_blocks -= run.high - run.low
            self._queue.remove(runs.pop())

    def make_known(self, id: int, tokens: int, ahead: int = 0) -> None:
        """Make known the blocks that are full with so many tokens, after `ahead` steps more than are counted."""
        holding = self._holdings[id]
        stops = holding.path.stops
        if stops and holding.places < stops[-1]:
            self._settle(holding.path, ahead)
            self._extend(holding, min(tokens // self.block_tokens, stops[-1]))

    def _extend(self, holding: Holding, places: int) -> None:
        """Let a request hold so many blocks, the further ones of which it has computed itself."""
        nodes, stops = holding.path
        while holding.places < places:
            holding.save(self._undo)
            first = holding.places
            at = holding.at if holding.at >= 0 and first < stops[holding.at] else holding.at + 1
            node, last = self._node(nodes[at], first), min(places, stops[at])
            if node.known > first:
                self._copies.add(holding, node, at, first, min(last, node.known))
            node.known = max(node.known, last)
            if at == holding.at:
                del node.ends[bisect_left(node.ends, first)]
                insort(node.ends, last)
            else:
                self._enter(holding, node, at, last)
            node.held = max(node.held, last)
            holding.places, holding.at = last, at
        if holding.grows is not None and places == stops[-1]:
            self._stop_growing(holding)

    def _enter(self, holding: Holding, node: Node, at: int, last: int) -> None:
        """Let the end of what a request holds move from one node to the next on its path."""
        above = self._saved(holding.path.nodes[at - 1] if at else ROOT)
        if at and node.ends:  # otherwise it is the node that holds on to the one above, from the same place on
            del above.ends[bisect_left(above.ends, holding.places)]
        insort(node.ends, last)
        if holding.grows is not None:
            above.growing.remove(holding)
            node.growing.append(holding)

    def _node(self, number: int, first: int) -> Node:
        if number in self._nodes:
            return self._saved(number)
        node = self._nodes[number] = Node(number, first)
        if first == 0:
            self._paths.note_holder(number, self)
        if self._undo.entries is not None:
            self._undo.entries.append((self._nodes.pop, (number,)))
        return node

    def _saved(self, number: int) -> Node:
        """A node that is about to change."""
        node = self._nodes[number]
        if self._undo.entries is not None:
            node.save(self._undo)
        return node

    def _put(self, holding: Holding) -> Holding:
        self._holdings[holding.id] = holding
        if self._undo.entries is not None:
            self._undo.entries.append((self._holdings.pop, (holding.id,)))
        return holding

    def release(self, id: int, computed_tokens: int) -> None:
        """Take back what a request holds that has computed so many tokens."""
        holding = self._holdings[id]
        holding.save(self._undo)
        holding.gave_back_at = computed_tokens
        self.make_known(id, computed_tokens)
        del self._holdings[id]
        if self._undo.entries is not None:
            self._undo.entries.append((self._holdings.__setitem__, (id, holding)))
        if holding.grows is not None:
            self._stop_growing(holding)
        full = computed_tokens // self.block_tokens
        if computed_tokens % self.block_tokens and full >= holding.places:  # not, if a step was cut off
            self._queue.prepend_nameless(1)
            self.free_blocks += 1
        if full > holding.places:  # no request can ever find these
            self._queue.append_nameless(full - holding.places)
            self.free_blocks += full - holding.places
        if holding.places:
            self._let_go(holding)
        if self.free_blocks > self.total_blocks:
            raise MemoryOverrun(f"{self.free_blocks} KV blocks free of {self.total_blocks}")

    def release_tail(self, computed_tokens: int, known_tokens: int) -> None:
        """Take back the blocks of a request, the last one first, that no token which is known is in."""
        blocks = self.blocks_for(computed_tokens) - self.blocks_for(known_tokens)
        if blocks:
            self._queue.prepend_nameless(blocks)
            self.free_blocks += blocks

    def _let_go(self, holding: Holding) -> None:
        """Queue up the blocks that a request alone has held, the deepest first."""
        nodes, at, copies = holding.path.nodes, holding.at, self._copies
        end = holding.places
        while True:
            node = self._saved(nodes[at])
            del node.ends[bisect_left(node.ends, end)]
            held, node.held = node.held, node.ends[-1] if node.ends else node.first
            if copies.places:
                self.free_blocks += copies.release(holding, at, held)
            elif node.held < held:
                self._queue_up(node, held)
            if node.ends or not at:
                break
            at, end = at - 1, node.first
        for above in reversed(range(at if copies.places else 0)):
            self.free_blocks += copies.release(holding, above, self._saved(nodes[above]).held)

    def _queue_up(self, node: Node, end: int) -> None:
        run = Run(node.held, end, node)
        node.runs.append(run)
        self._queue.append(run)
        self.free_blocks += end - node.held

    def name_own(self, id: int) -> None:
        """Let every full block of a request be known, so that it may find it again."""
        self._holdings[id].path = self._paths.add_own(id)

    def forget(self, id: int) -> None:
        """Note that a request has ended."""
        self._paths.forget(id)

    # Decoding ----------------------------------------------------------------------------------------------

    def decodes(self, request: Request) -> None:
        """Note that a request decodes from now on: what it fills is known as soon as it is looked for."""
        holding = self._holdings[request.id]
        stops = holding.path.stops
        if holding.grows is None and stops and holding.places < stops[-1]:
            holding.grows = request
            self._growing += 1
            if holding.at < 0:
                self._paths.note_holder(holding.path.nodes[0], self)
            self._nodes[holding.path.nodes[holding.at] if holding.at >= 0 else ROOT].growing.append(holding)

    def _stop_growing(self, holding: Holding) -> None:
        holding.save(self._undo)
        node = self._saved(holding.path.nodes[holding.at] if holding.at >= 0 else ROOT)
        node.growing.remove(holding)
        self._growing -= 1
        holding.grows = None

    def _settle(self, path: Path, ahead: int) -> list[Holding]:
        """Make known what decoding requests have filled of a path, in order; return those that may fill more."""
        if not self._growing:
            return []
        known, (nodes, _) = self._nodes, path
        growing = [*known[ROOT].growing]
        for number in nodes:
            node = known.get(number)
            if node is None:
                break
            growing += node.growing
        if not growing:
            return growing
        if len(growing) == 1:
            self._extend(growing[0], self._growth.places(growing[0], ahead))
        else:
            for holding, place in self._growth.in_order(growing, ahead):  # the first one's copy is the oldest
                self._extend(holding, place)
        return [holding for holding in growing if holding.grows is not None]

    def count_ahead(self, unknown: Callable[[Request, int], int]) -> None:
        """Have tokens of decoding requests counted that are not known yet, though their place in memory is taken."""
        self._growth.count_ahead(unknown)

    def foresee(self, pace_of: Callable[[Request], Pace | None]) -> None:
        """Ask this for the pace of a decoding request."""
        self._growth.pace_of = pace_of

    # Blocks ------------------------------------------------------------------------------------------------

    def take(self, blocks: int) -> None:
        """Hand out the blocks at the head of the queue. Raises `MemoryOverrun` if there are not as many."""
        super().take(blocks)
        if blocks > self._reserved:
            self._pop(blocks - self._reserved)
            self._reserved = 0
        else:
            self._reserved -= blocks

    def evict_ahead(self, blocks: int) -> None:
        """Have so many blocks off the queue, and what they hold forgotten: they are as good as handed out."""
        if blocks > self._reserved:
            self._pop(blocks - self._reserved)
            self._reserved = blocks

    @property
    def unreserved_blocks(self) -> int:
        """Blocks in the queue."""
        return self.free_blocks - self._reserved

    def _pop(self, blocks: int) -> None:
        """Take blocks off the head of the queue."""
        queue, undo = self._queue, self._undo
        while blocks > 0:
            run = queue.first
            if undo.entries is not None:
                run.save(undo)
            taken = min(blocks, run.high - run.low)
            run.high -= taken
            blocks -= taken
            if run.high == run.low:
                queue.remove(run)
            if run.copy is not None:
                self._copies.evict(run)
            elif run.node is not None:
                self._forget_from(run, self._saved(run.node.number))

    def _forget_from(self, run: Run, node: Node) -> None:
        """Forget the blocks of a node from the end of its deepest run on."""
        node.known = run.high
        if run.high == run.low:
            del node.runs[0]
        if node.known == node.first and not node.ends:
            del self._nodes[node.number]
            if self._undo.entries is not None:
                self._undo.entries.append((self._nodes.__setitem__, (node.number, node)))

    # On trial ----------------------------------------------------------------------------------------------

    def begin_trial(self) -> None:
        """Let what is done from now on be such that it can be taken back."""
        numbers = self.free_blocks, self._reserved, self._order, self._growing, self._copies.places
        self._undo.entries = [(self._reset, numbers)]

    def end_trial(self, *, stands: bool) -> None:
        """Let what was tried out stand, or take it back."""
        if stands:
            self._undo.entries = None
        else:
            self._undo.back()

    def _reset(self, free_blocks: int, reserved: int, order: int, growing: int, places: int) -> None:
        self.free_blocks, self._reserved, self._order, self._growing = free_blocks, reserved, order, growing
        self._copies.places = places

    def check(self) -> None:
        """Raise `MemoryOverrun` unless the queue holds as many blocks as are free, and nodes agree with it."""
        queued = sum(run.high - run.low for run in self._queue)
        known = sum(node.known - node.held for node in self._nodes.values())
        idle = sum(run.high - run.low for run in self._queue if run.node is not None and run.copy is None)
        if queued != self.unreserved_blocks or known < idle:
            raise MemoryOverrun(f"{queued} KV blocks queued, {self.unreserved_blocks} free; {known} known to be cached")
