"""Decoding sequences whose steps yield what is drawn: when each takes its blocks is worked out when it joins.

The sum of contexts moves by the mean acceptance lengths; it is right again whenever a request joins or leaves.
"""

from __future__ import annotations

from collections import Counter

from llmsim.acceptance import Pace
from llmsim.engine.memory import KVMemory
from llmsim.engine.speculation.batch import DrawsOf, SpeculativeBatch


class DrawnBatch(SpeculativeBatch):
    """The same sums, and the blocks of each step ahead."""

    __slots__ = ("_takers", "_takes")

    def __init__(self, memory: KVMemory, reach: int, lag: int = 0, draws: DrawsOf | None = None) -> None:
        super().__init__(memory, reach, lag, draws)
        self._takes: Counter[int] = Counter()  # blocks by step of the batch
        self._takers: dict[int, list[int]] = {}  # steps in which each request takes its blocks

    def _enter(self, id: int, pace: Pace, position: int, output_left: int) -> None:
        """Note in which steps it takes blocks: until it is done, and one step more where that may be in vain."""
        size, now = self._memory.block_tokens, self.counter.steps
        held, last = pace.reserved_tokens(0), pace.reserved_tokens(pace.steps_for(output_left) + self.lag)
        takes = []
        for block in range(-(-held // size), -(-last // size)):
            lacking = block * size + 1 - pace.base_tokens - self.reach
            takes.append(now + 1 + (self.lag + pace.steps_for(lacking) if lacking > 0 else 0))
        self._takes.update(takes)
        self._takers[id] = takes

    def _exit(self, id: int, position: int, gain: int, joined_step: int) -> None:
        now = self.counter.steps
        self._takes.subtract([step for step in self._takers.pop(id) if step > now])

    def blocks_within(self, steps: int) -> int:
        takes, now = self._takes, self.counter.steps
        return sum(takes[step] for step in range(now + 1, now + steps + 1))

    def steps_ahead(self, free_blocks: int) -> int:
        takes, now = self._takes, self.counter.steps
        steps, most = 0, self._first_finish - now
        while steps < most and (free_blocks := free_blocks - takes[now + steps + 1]) >= 0:
            steps += 1
        return steps
