"""Decoding sequences that speculate, kept as sums, like those of decode_batch.py.

Sequences of one acceptance length are a *lane*: each of their positions, in hundredths of a token, moves by the same
amount in every step. So the sum of contexts is linear in steps, finishes are known in advance, and a histogram of
positions, modulo a block, tells how many blocks any number of steps takes.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Protocol

from llmsim.acceptance import PER_TOKEN, DrawnPace, Draws, Pace
from llmsim.engine.decode_batch import NO_STEP, Batch, next_finish
from llmsim.engine.memory import KVMemory
from llmsim.request import Request, StepCounter

#: id of a request -> what its steps yield
DrawsOf = Callable[[int], Draws]


class SpeculatingBatch(Batch, Protocol):
    """What the engine needs of decoding sequences that speculate, beside what it needs of all."""

    drafts: int  #: tokens that each sequence drafts in a step
    reach: int  #: tokens, beyond those in memory, that a sequence has memory for in a step
    lag: int  #: 1: steps are decided while the ones before them run (`acceptance.Pace`)
    draws: DrawsOf | None  #: what steps of requests yield, by id; None: even acceptance
    changed: bool  #: whether one has joined or left since this was last set to False

    @property
    def context(self) -> int:
        """Sum of the tokens that the next step attends to, without what it drafts; hundredths of a token."""

    @property
    def stride(self) -> int:
        """By how much that grows in a step; hundredths of a token."""

    def leave(self, request: Request, in_vain: int = 0) -> int:
        """Take a request out; return how many tokens it emitted since it joined, but in so many of the last steps."""


class Lane:
    """Sequences of one acceptance length, by their places in a block: they keep their distances as they move on."""

    __slots__ = ("_cycle", "_places", "_turned", "gain")

    def __init__(self, gain: int, reach: int, lag: int, block_tokens: int) -> None:
        self.gain = gain  #: hundredths of a token that each sequence moves by in a step
        self._cycle = block_tokens * PER_TOKEN
        # a step takes a block if it begins, for the first time, less than `reach` tokens before the end of the last one
        # (with `lag`: if the step before it does)
        self._turned = (reach - 1) * PER_TOKEN - (1 + lag) * gain
        self._places: list[int] = []  # positions before the first step of the batch, modulo a block; ascending

    @property
    def sequences(self) -> int:
        """How many there are."""
        return len(self._places)

    def join(self, position: int, steps: int) -> None:
        """Let one join with this position, in hundredths of a token, after so many steps of the batch."""
        insort(self._places, (position - steps * self.gain) % self._cycle)

    def leave(self, position: int, steps: int) -> None:
        """Let one leave that has joined so."""
        del self._places[bisect_left(self._places, (position - steps * self.gain) % self._cycle)]

    def blocks_within(self, steps: int, now: int) -> int:
        """Blocks that the next steps take after `now` steps, of sequences that have taken part in the one before."""
        places, cycle = self._places, self._cycle
        cycles, rest = divmod(steps * self.gain, cycle)
        first = (-rest - now * self.gain - self._turned) % cycle
        end = first + rest
        blocks = cycles * len(places) - bisect_left(places, first)
        if end <= cycle:
            return blocks + bisect_left(places, end)
        return blocks + len(places) + bisect_left(places, end - cycle)


class SpeculativeBatch:
    """Decoding sequences as sums (`decode_batch.Batch`), in lanes."""

    __slots__ = (
        "_cycle",
        "_finish_step",
        "_finishes",
        "_first_finish",
        "_joined",
        "_lanes",
        "_memory",
        "_needed",
        "_owed",
        "changed",
        "context",
        "counter",
        "drafts",
        "draws",
        "lag",
        "members",
        "reach",
        "sequences",
        "stride",
    )

    def __init__(self, memory: KVMemory, reach: int, lag: int = 0, draws: DrawsOf | None = None) -> None:
        self.draws = draws  #: what steps of requests yield; None: even acceptance
        self.counter = StepCounter()
        self.sequences = 0
        self.reach = reach  #: tokens, beyond those in memory, that a sequence has memory for in a step
        self.lag = lag  #: 1: steps are decided while the ones before them run (`acceptance.Pace`)
        self.drafts = 0  #: tokens that each sequence drafts in a step at present
        self.changed = True
        self.members: dict[int, Request] = {}
        self._memory = memory
        self._needed: int | None = None  # blocks for the next step, once they are counted
        self._cycle = memory.block_tokens * PER_TOKEN
        self.context = 0  #: sum of the tokens that the next step attends to, without what it drafts; hundredths
        self.stride = 0  #: by how much that grows in a step; hundredths
        self._lanes: dict[int, Lane] = {}  # by acceptance length
        #: position and gain with which each has joined, and the tokens that it may still emit
        self._joined: dict[int, tuple[int, int, int]] = {}
        self._owed: dict[int, int] = {}  # blocks that those who have just joined lack, or have too many of
        self._finishes: list[tuple[int, int]] = []  # heap of (count of steps when done, id); some are stale
        self._finish_step: dict[int, int] = {}
        self._first_finish = NO_STEP

    @property
    def context_tokens(self) -> int:
        """The same in tokens, rounded down."""
        return self.context // PER_TOKEN

    def join(self, request: Request, output_left: int) -> None:
        counter, id = self.counter, request.id
        steps = counter.steps
        pace = paced(request, self, steps)
        gain, position = pace.gain, pace.base_tokens * PER_TOKEN + pace.phase
        self._joined[id] = position, gain, output_left
        self.members[id] = request
        self._enter(id, pace, position, output_left)
        self.context += position + PER_TOKEN
        self.stride += gain
        request.counter = counter
        request.joined_step = steps
        self.changed, self._needed = True, None
        self.sequences += 1
        finish = self._finish_step[id] = steps + pace.steps_for(output_left)
        heappush(self._finishes, (finish, id))
        first = self._first_finish
        self._first_finish = finish if finish < first else first

    def _enter(self, id: int, pace: Pace, position: int, output_left: int) -> None:
        """Reckon with the blocks that a request will take."""
        gain = pace.gain
        lane = self._lanes.get(gain)
        if lane is None:
            lane = self._lanes[gain] = Lane(gain, self.reach, self.lag, self._memory.block_tokens)
        lane.join(position, self.counter.steps)
        # as if it had taken part in the step before, which would have begun with memory for this
        size = self._memory.block_tokens
        begun = (position - (1 + self.lag) * gain) // PER_TOKEN + self.reach
        owed = -(pace.base_tokens + pace.ahead_tokens) // size - -begun // size
        if owed:
            self._owed[id] = owed

    def _exit(self, id: int, position: int, gain: int, joined_step: int) -> None:
        """Reckon no longer with what a request would take."""
        lane = self._lanes[gain]
        lane.leave(position, joined_step)
        if not lane.sequences:
            del self._lanes[gain]
        if self._owed:
            self._owed.pop(id, None)

    def leave(self, request: Request, in_vain: int = 0) -> int:
        steps, id = self.counter.steps, request.id
        position, gain, output_left = self._joined.pop(id)
        del self.members[id]
        since = steps - request.joined_step
        self._exit(id, position, gain, request.joined_step)
        self.context -= position + since * gain + PER_TOKEN
        self.stride -= gain
        self.changed, self._needed = True, None
        self.sequences -= 1
        emitted = stopped(request, since, output_left, in_vain)
        if self._finish_step.pop(id) == self._first_finish:
            self._first_finish = next_finish(self._finishes, self._finish_step)
        return emitted

    @property
    def blocks_needed(self) -> int:
        if self._needed is None:
            self._needed = self.blocks_within(1)
        return self._needed

    def blocks_within(self, steps: int) -> int:
        if not steps:
            return 0
        now, blocks = self.counter.steps, sum(self._owed.values()) if self._owed else 0
        for lane in self._lanes.values():
            blocks += lane.blocks_within(steps, now)
        return blocks

    def steps_ahead(self, free_blocks: int) -> int:
        steps = self._first_finish - self.counter.steps
        most = self.sequences + sum(self._owed.values()) + steps * self.stride // self._cycle
        if most <= free_blocks or self.blocks_within(steps) <= free_blocks:
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
        blocks = self.blocks_needed if steps == 1 else self.blocks_within(steps)
        if blocks:
            self._memory.take(blocks)
        self._needed = None
        if self._owed:
            self._owed.clear()
        self.context += steps * self.stride
        now = self.counter.steps = self.counter.steps + steps
        if now < self._first_finish:
            return ()
        done: list[int] = []
        while self._finishes and self._finishes[0][0] <= now:
            step, id = heappop(self._finishes)
            if self._finish_step.get(id) == step and (not done or done[-1] != id):
                done.append(id)
        return done


def paced(request: Request, batch: SpeculatingBatch, steps: int) -> Pace:
    """Let a request that joins a batch after so many steps go on at the pace that its drafts give it there."""
    base_tokens, drawn = request.prompt_tokens + request.emitted_before - 1, batch.draws
    gain = request.acceptance[batch.drafts]
    memory = base_tokens, request.ahead_tokens, request.behind_tokens
    if drawn is None:
        request.pace = Pace(gain, request.phase, batch.reach, batch.lag, steps, *memory)
    else:
        pace = DrawnPace(gain, 0, batch.reach, batch.lag, steps, *memory)
        request.pace = pace.of(drawn(request.id), request.phase)
    return request.pace


def stopped(request: Request, steps: int, output_left: int, in_vain: int) -> int:
    """Let a request that leaves be as it is after so many steps; return how many tokens it has emitted in them.

    The last `in_vain` of them have yielded nothing.
    """
    pace = request.pace
    assert pace is not None
    emitted = min(pace.tokens(steps - in_vain), output_left) if steps > in_vain else 0
    request.emitted_before += emitted
    request.counter = None
    computed = request.prefilled_tokens = pace.base_tokens + emitted
    if steps:  # else it leaves as it has joined
        known = pace.known_tokens(steps)
        request.ahead_tokens = pace.reserved_tokens(steps) - computed
        request.behind_tokens = computed - known if known < computed else 0
        request.phase = pace.phase_after(steps - in_vain)
    return emitted
