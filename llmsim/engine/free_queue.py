"""Free KV blocks in the order in which they are handed out, as runs: blocks that came back together are one entry."""

from __future__ import annotations

from collections.abc import Iterator

from llmsim.engine.cache_nodes import Run
from llmsim.engine.undo import Undo


class FreeQueue:
    """Runs in order, doubly linked."""

    __slots__ = ("_ends", "_undo")

    def __init__(self, blocks: int, undo: Undo) -> None:
        self._undo = undo
        ends = self._ends = Run(0, 0)  # before the first and after the last
        ends.before = ends.after = ends
        self.append_nameless(blocks)

    @property
    def first(self) -> Run:
        """What is handed out next."""
        return self._ends.after

    def __iter__(self) -> Iterator[Run]:
        run = self._ends.after
        while run is not self._ends:
            yield run
            run = run.after

    def append(self, run: Run) -> None:
        """Put a run at the end."""
        self.insert(run, self._ends)

    def insert(self, run: Run, after: Run) -> None:
        """Put a run before another one."""
        before = after.before
        if self._undo.entries is not None:
            before.save(self._undo)
            after.save(self._undo)
        run.before, run.after = before, after
        before.after = after.before = run

    def remove(self, run: Run) -> None:
        """Take a run out."""
        before, after = run.before, run.after
        if self._undo.entries is not None:
            before.save(self._undo)
            after.save(self._undo)
        before.after, after.before = after, before

    def append_nameless(self, blocks: int) -> None:
        """Put blocks without a name at the end."""
        last = self._ends.before
        if last.node is None and last is not self._ends:
            last.save(self._undo)
            last.high += blocks
        else:
            self.append(Run(0, blocks))

    def prepend_nameless(self, blocks: int) -> None:
        """Put blocks without a name at the head."""
        first = self._ends.after
        if first.node is None and first is not self._ends:
            first.save(self._undo)
            first.high += blocks
        else:
            self.insert(Run(0, blocks), first)
