"""What an instance has in memory of one node of the tree of texts (block_paths.py), and what a request holds of it."""

from __future__ import annotations

from typing import Any

from llmsim.engine.block_paths import Path
from llmsim.engine.undo import Undo
from llmsim.request import Request


class Run:
    """Free blocks side by side, the deepest handed out first: `low` to `high` of a node, or blocks without a name."""

    __slots__ = ("after", "before", "copy", "high", "low", "node")

    before: Run
    after: Run

    def __init__(self, low: int, high: int, node: Node | None = None, copy: Copy | None = None) -> None:
        self.node = node
        self.low = low
        self.high = high
        self.copy = copy  #: if it is one block, of which there are several copies

    def set(self, low: int, high: int, copy: Copy | None, before: Run, after: Run) -> None:
        """Be as it was."""
        self.low, self.high, self.copy, self.before, self.after = low, high, copy, before, after

    def save(self, undo: Undo) -> None:
        """Write down how it is, on trial."""
        if undo.entries is not None:
            undo.entries.append((self.set, (self.low, self.high, self.copy, self.before, self.after)))


class Copy:
    """One of several blocks that hold the same. Only the oldest is found, so the others are held by their owners."""

    __slots__ = ("owner", "run", "users")

    def __init__(self, owner: int, users: int, run: Run | None = None) -> None:
        self.owner = owner  #: the request that computed it; -1: it was there before there were copies
        self.users = users  #: requests that hold it
        self.run = run  #: its place in the free queue, if none does

    def set(self, users: int, run: Run | None) -> None:
        """Be as it was."""
        self.users, self.run = users, run

    def save(self, undo: Undo) -> None:
        """Write down how it is, on trial."""
        if undo.entries is not None:
            undo.entries.append((self.set, (self.users, self.run)))


class Node:
    """Blocks `first` to `known` of a text are in memory, of these `first` to `held` held by requests.

    Places are counted from the start of a request. All blocks from `held` to `known` are free: `runs`, the deepest
    first. That is so because a request that holds a block holds all before it, and gives the deepest back first. Blocks
    of which there are `copies` are counted among the known and held ones, but are in no run.
    """

    __slots__ = ("copies", "ends", "first", "growing", "held", "known", "number", "runs")

    def __init__(self, number: int, first: int) -> None:
        self.number = number
        self.first = first
        self.known = first
        self.held = first
        #: up to where requests hold that hold nothing deeper, and where deeper nodes begin that are held; ascending
        self.ends: list[int] = []
        self.runs: list[Run] = []
        self.copies: dict[int, list[Copy]] = {}  #: place -> all of its blocks, the oldest first, if there are several
        self.growing: list[Holding] = []  #: requests that end here, decode, and will make more of the text known

    def set(self, *state: Any) -> None:
        """Be as it was."""
        self.known, self.held, self.ends, self.runs, self.growing, self.copies = state

    def save(self, undo: Undo) -> None:
        """Write down how it is, on trial."""
        if undo.entries is not None:
            copies = {place: list(blocks) for place, blocks in self.copies.items()} if self.copies else {}
            lists = [*self.ends], [*self.runs], [*self.growing], copies
            undo.entries.append((self.set, (self.known, self.held, *lists)))


class Holding:
    """The first blocks of a request that are named, all of which it holds."""

    __slots__ = ("at", "found", "gave_back_at", "grows", "id", "order", "path", "places")

    def __init__(self, id: int, path: Path, order: int, found: int) -> None:
        self.id = id
        self.path = path
        self.order = order  #: of admission
        self.found = found  #: blocks that it has found then
        self.places = 0  #: how many
        self.at = -1  #: the node on its path that the last of them is in; -1: it holds none
        self.grows: Request | None = None  #: itself, if it decodes and makes more blocks known
        self.gave_back_at = -1  #: its tokens in memory when it gives that back

    def set(self, places: int, at: int, grows: Request | None, gave_back_at: int) -> None:
        """Be as it was."""
        self.places, self.at, self.grows, self.gave_back_at = places, at, grows, gave_back_at

    def save(self, undo: Undo) -> None:
        """Write down how it is, on trial."""
        if undo.entries is not None:
            undo.entries.append((self.set, (self.places, self.at, self.grows, self.gave_back_at)))

    def holds(self, at: int, node: int, place: int) -> bool:
        """Whether it holds a block of a node that is number `at` on the paths through it."""
        nodes, stops = self.path
        return len(nodes) > at and nodes[at] == node and place < min(stops[at], self.places)

    def tokens(self, ahead: int) -> int:
        """Tokens that are computed once `ahead` steps more are, if it decodes."""
        request = self.grows
        assert request is not None
        return request.known_tokens(ahead)
