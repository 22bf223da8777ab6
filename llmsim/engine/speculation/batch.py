"""Decoding sequences that speculate, kept as sums, like those of decode_batch.py.

Sequences of one acceptance length are a *lane*: each of their positions, in hundredths of a token, moves by the same
amount in every step. So the sum of contexts is linear in steps, finishes are known in advance, and a histogram of
positions, modulo a block, tells how many blocks any number of steps takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import Protocol

from llmsim.acceptance import PER_TOKEN, Pace
from llmsim.engine.decode_batch import NO_STEP, Batch
from llmsim.engine.memory import KVMemory
from llmsim.request import Request, StepCounter


class SpeculatingBatch(Batch, Protocol):
    """What the engine needs of decoding sequences that speculate, beside what it needs of all."""

    drafts: int  #: tokens that each sequence drafts in a step
    changed: bool  #: whether one has joined or left since this was last set to False

    @property
    def context(self) -> int:
        """Sum of the tokens that the next step attends to, without what it drafts; hundredths of a token."""

    @property
    def stride(self) -> int:
        """By how much that grows in a step; hundredths of a token."""


class Ring:
    """How many members there are at each place of a ring; adding costs O(1), a sum over an arc little more."""

    __slots__ = ("_by_place", "_by_token", "places")

    def __init__(self, tokens: int) -> None:
        self.places = tokens * PER_TOKEN
        self._by_place = [0] * self.places
        self._by_token = [0] * tokens  # the same, a token's places together

    def add(self, place: int, members: int) -> None:
        """Put so many members there."""
        self._by_place[place] += members
        self._by_token[place // PER_TOKEN] += members

    def arc(self, first: int, length: int) -> int:
        """How many members there are at the `length` places from `first` on, at most once around."""
        end = first + length
        if end <= self.places:
            return self._between(first, end)
        return self._between(first, self.places) + self._between(0, end - self.places)

    def _between(self, first: int, end: int) -> int:
        low, high = -(-first // PER_TOKEN), end // PER_TOKEN  # whole tokens
        if low > high:
            return sum(self._by_place[first:end])
        whole = sum(self._by_token[low:high])
        return sum(self._by_place[first : low * PER_TOKEN]) + whole + sum(self._by_place[high * PER_TOKEN : end])


class Lane:
    """Sequences of one acceptance length."""

    __slots__ = ("_ring", "_turned", "gain", "position", "sequences")

    def __init__(self, gain: int, reach: int, block_tokens: int) -> None:
        self.gain = gain  #: hundredths of a token that each sequence moves by in a step
        self.sequences = 0
        self.position = 0  #: sum of the positions, hundredths of a token
        self._ring = Ring(block_tokens)
        # a step takes a block if it begins, for the first time, less than `reach` tokens before the end of the last one
        self._turned = (reach - 1) * PER_TOKEN - gain

    def add(self, position: int, steps: int, members: int) -> None:
        """Let one join (`members` = 1) or leave (-1) with this position after so many steps of the batch."""
        self.sequences += members
        self.position += members * position
        self._ring.add((position - steps * self.gain) % self._ring.places, members)

    def blocks_within(self, steps: int, now: int) -> int:
        """Blocks that the next steps take after `now` steps, of sequences that have taken part in the one before."""
        places = self._ring.places
        cycles, rest = divmod(steps * self.gain, places)
        first = (-rest - now * self.gain - self._turned) % places
        return cycles * self.sequences + self._ring.arc(first, rest)


class SpeculativeBatch:
    """Decoding sequences as sums (`decode_batch.Batch`), in lanes."""

    __slots__ = (
        "_finish_step",
        "_finishes",
        "_first_finish",
        "_joined",
        "_lanes",
        "_memory",
        "_owed",
        "changed",
        "counter",
        "drafts",
        "reach",
        "sequences",
    )

    def __init__(self, memory: KVMemory, reach: int) -> None:
        self.counter = StepCounter()
        self.sequences = 0
        self.reach = reach  #: tokens, beyond those in memory, that a sequence has memory for in a step
        self.drafts = 0  #: tokens that each sequence drafts in a step at present
        self.changed = True
        self._memory = memory
        self._lanes: dict[int, Lane] = {}  # by acceptance length
        #: position and lane with which each has joined, and the tokens that it may still emit
        self._joined: dict[int, tuple[int, Lane, int]] = {}
        self._owed: dict[int, int] = {}  # blocks that those who have just joined lack, or have too many of
        self._finishes: list[tuple[int, int]] = []  # heap of (count of steps when done, id); some are stale
        self._finish_step: dict[int, int] = {}
        self._first_finish = NO_STEP

    @property
    def ids(self) -> Iterable[int]:
        return self._joined.keys()

    @property
    def context(self) -> int:
        """Sum of the tokens that the next step attends to, without what it drafts; hundredths."""
        return sum(lane.position for lane in self._lanes.values()) + PER_TOKEN * self.sequences

    @property
    def context_tokens(self) -> int:
        """The same in tokens, rounded down."""
        return self.context // PER_TOKEN

    @property
    def stride(self) -> int:
        """By how much that grows in a step; hundredths."""
        return sum(lane.sequences * lane.gain for lane in self._lanes.values())

    def join(self, request: Request, output_left: int) -> None:
        counter, id = self.counter, request.id
        steps = counter.steps
        pace = paced(request, self.drafts, self.reach, steps)
        lane = self._lanes.get(pace.gain)
        if lane is None:
            lane = self._lanes[pace.gain] = Lane(pace.gain, self.reach, self._memory.block_tokens)
        position = pace.base_tokens * PER_TOKEN + pace.phase
        self._joined[id] = position, lane, output_left
        lane.add(position, steps, 1)
        # as if it had taken part in the step before, which would have begun with memory for this
        blocks = self._memory.blocks_for
        owed = blocks((position - pace.gain) // PER_TOKEN + self.reach) - blocks(pace.reserved_tokens(0))
        if owed:
            self._owed[id] = owed
        request.counter = counter
        request.joined_step = steps
        self.changed = True
        self.sequences += 1
        finish = self._finish_step[id] = steps + pace.steps_for(output_left)
        heappush(self._finishes, (finish, id))
        self._first_finish = min(self._first_finish, finish)

    def leave(self, request: Request) -> int:
        steps, id = self.counter.steps, request.id
        position, lane, output_left = self._joined.pop(id)
        since = steps - request.joined_step
        lane.add(position + since * lane.gain, steps, -1)
        if not lane.sequences:
            del self._lanes[lane.gain]
        self._owed.pop(id, None)
        self.changed = True
        self.sequences -= 1
        emitted = stopped(request, since, output_left)
        if self._finish_step.pop(id) == self._first_finish:
            self._first_finish = self._look_for_first()
        return emitted

    def _look_for_first(self) -> int:
        finishes = self._finishes
        while finishes:
            step, id = finishes[0]
            if self._finish_step.get(id) == step:
                return step
            heappop(finishes)
        return NO_STEP

    @property
    def blocks_needed(self) -> int:
        return self.blocks_within(1)

    def blocks_within(self, steps: int) -> int:
        if not steps:
            return 0
        now = self.counter.steps
        blocks = sum(lane.blocks_within(steps, now) for lane in self._lanes.values())
        return blocks + sum(self._owed.values()) if self._owed else blocks

    def steps_ahead(self, free_blocks: int) -> int:
        steps = self._first_finish - self.counter.steps
        if self.blocks_within(steps) <= free_blocks:
            return steps
        fit, beyond = 0, steps
        while beyond - fit > 1:
            half = (fit + beyond) // 2
            if self.blocks_within(half) <= free_blocks:
                fit = half
            else:
                beyond = half
        return fit

    def advance(self, steps: int) -> Sequence[int]:
        self._memory.take(self.blocks_within(steps))
        if self._owed:
            self._owed.clear()
        for lane in self._lanes.values():
            lane.position += steps * lane.gain * lane.sequences
        now = self.counter.steps = self.counter.steps + steps
        if now < self._first_finish:
            return ()
        done: list[int] = []
        while self._finishes and self._finishes[0][0] <= now:
            step, id = heappop(self._finishes)
            if self._finish_step.get(id) == step and (not done or done[-1] != id):
                done.append(id)
        return done


def paced(request: Request, drafts: int, reach: int, steps: int) -> Pace:
    """Let a request that joins after so many steps go on at the pace that this many drafted tokens give it."""
    base_tokens = request.prompt_tokens + request.emitted_before - 1
    request.pace = Pace(
        request.acceptance[drafts],
        request.phase,
        reach,
        steps,
        base_tokens,
        request.ahead_tokens,
        request.behind_tokens,
    )
    return request.pace


def stopped(request: Request, steps: int, output_left: int) -> int:
    """Let a request that leaves be as it is after so many steps; return how many tokens it has emitted in them."""
    pace = request.pace
    assert pace is not None
    emitted = min(pace.tokens(steps), output_left)
    request.emitted_before += emitted
    request.counter = None
    computed = request.prefilled_tokens = pace.base_tokens + emitted
    request.ahead_tokens = pace.reserved_tokens(steps) - computed
    request.behind_tokens = computed - pace.known_tokens(steps)
    request.phase = pace.phase_after(steps)
    return emitted
