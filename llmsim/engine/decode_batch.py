"""The sequences that decode, kept as sums: joining, leaving and advancing cost O(1) per step, not O(sequences).

While all requests decode, a step needs the number of sequences and the sum of their contexts. Two more questions decide
how long that can go on: when does the first one finish (a heap), and when is memory short? A sequence takes a new KV
block each time its last block is full, once every `block_tokens` steps, so a histogram of context length modulo
block size tells how many blocks the k-th next step takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from typing import Protocol

from llmsim.engine.memory import KVMemory
from llmsim.request import Request, StepCounter

NO_STEP = 1 << 62  #: a count of steps that is never reached


class Batch(Protocol):
    """What the engine needs of its decoding sequences (`DecodeBatch`, and stepwise.py's `ListBatch`)."""

    counter: StepCounter
    members: dict[int, Request]  #: which requests decode, by id, in the order in which they have joined

    @property
    def sequences(self) -> int:
        """How many decode."""

    @property
    def context_tokens(self) -> int:
        """Sum of the tokens that the next step attends to, its own included."""

    def join(self, request: Request, output_left: int) -> None:
        """Let a request decode, from the next step on, until it has emitted `output_left` tokens more."""

    def leave(self, request: Request) -> int:
        """Take a request out; return how many tokens it emitted since it joined."""

    def blocks_needed(self) -> int:
        """KV blocks that the next step takes."""

    def steps_ahead(self, free_blocks: int) -> int:
        """Steps until a request finishes or more than `free_blocks` blocks are needed. Needs at least one sequence."""

    def blocks_within(self, steps: int) -> int:
        """KV blocks that the next `steps` steps take."""

    def advance(self, steps: int) -> Sequence[int]:
        """Let each emit `steps` tokens, taking the memory; return the ids of those that are done, in order."""


class DecodeBatch:
    """Decoding sequences as sums."""

    __slots__ = (
        "_finish_step",
        "_finishes",
        "_first_finish",
        "_memory",
        "_period",
        "_takers",
        "context_tokens",
        "counter",
        "members",
        "sequences",
    )

    def __init__(self, memory: KVMemory) -> None:
        self.counter = StepCounter()
        self.members: dict[int, Request] = {}  # on its own: a scheduler's view holds it, and may hold no finish steps
        self.sequences = 0
        self.context_tokens = 0
        self._memory = memory
        self._period = memory.block_tokens
        #: how many sequences take a block in the step from each count of steps, modulo the block size
        self._takers = [0] * memory.block_tokens
        self._finishes: list[
            tuple[int, int]
        ] = []  # heap of (count of steps when done, id); entries of leavers go stale
        self._finish_step: dict[int, int] = {}
        self._first_finish = NO_STEP  # the count of steps when the next one is done

    def join(self, request: Request, output_left: int) -> None:
        counter, id = self.counter, request.id
        steps = counter.steps
        context = request.prompt_tokens + request.emitted_before
        request.counter = counter
        request.joined_step = steps
        self.members[id] = request
        self.sequences += 1
        self.context_tokens += context
        self._takers[(steps + 1 - context) % self._period] += 1
        finish = self._finish_step[id] = steps + output_left
        heappush(self._finishes, (finish, id))
        first = self._first_finish
        self._first_finish = finish if finish < first else first

    def leave(self, request: Request) -> int:
        steps = self.counter.steps
        emitted = steps - request.joined_step
        request.emitted_before += emitted
        request.counter = None
        context = request.prompt_tokens + request.emitted_before
        request.prefilled_tokens = context - 1
        del self.members[request.id]
        self.sequences -= 1
        self.context_tokens -= context
        self._takers[(steps + 1 - context) % self._period] -= 1
        if self._finish_step.pop(request.id) == self._first_finish:
            self._first_finish = next_finish(self._finishes, self._finish_step)
        return emitted

    def blocks_needed(self) -> int:
        return self._takers[self.counter.steps % self._period]

    def steps_ahead(self, free_blocks: int) -> int:
        steps = self._first_finish - self.counter.steps
        if self.sequences * (steps // self._period + 1) <= free_blocks:
            return steps  # each sequence takes a block every so many steps
        return min(steps, self._steps_within(free_blocks))

    def _steps_within(self, free_blocks: int) -> int:
        """The most steps that take no more than so many blocks."""
        cycles, left = divmod(free_blocks, self.sequences)
        steps, now = 0, self.counter.steps
        while (taken := self._takers[(now + steps) % self._period]) <= left:
            left -= taken
            steps += 1
        return cycles * self._period + steps

    def advance(self, steps: int) -> Sequence[int]:
        counter = self.counter
        blocks = self._takers[counter.steps % self._period] if steps == 1 else self.blocks_within(steps)
        if blocks:
            self._memory.take(blocks)
        now = counter.steps = counter.steps + steps
        self.context_tokens += steps * self.sequences
        return () if now < self._first_finish else finished(self._finishes, self._finish_step, now)

    def blocks_within(self, steps: int) -> int:
        """KV blocks that the next `steps` steps take."""
        period, takers = self._period, self._takers
        now = self.counter.steps % period
        end = now + steps % period
        blocks = sum(takers[now:end]) + steps // period * self.sequences
        return blocks if end <= period else blocks + sum(takers[: end - period])


def finished(finishes: list[tuple[int, int]], finish_step: Mapping[int, int], now: int) -> Sequence[int]:
    """Ids of sequences that are done after so many steps, in order: of such a heap as `next_finish` has."""
    done: list[int] = []
    while finishes and finishes[0][0] <= now:
        step, id = heappop(finishes)
        if finish_step.get(id) == step and (not done or done[-1] != id):
            done.append(id)
    return done


def next_finish(finishes: list[tuple[int, int]], finish_step: Mapping[int, int]) -> int:
    """The count of steps when the next sequence is done: of a heap whose stale entries `finish_step` lacks."""
    while finishes:
        step, id = finishes[0]
        if finish_step.get(id) == step:
            return step
        heappop(finishes)
    return NO_STEP
