"""Decoding sequences that speculate, kept as sums, like those of decode_batch.py.

A sequence moves by the same amount in every step, in hundredths of a token, as long as it drafts as many. So the sum of
contexts is linear in steps, finishes are known in advance, and so are the steps that take blocks (blocks.py). Sequences
may draft different numbers of tokens: one that is to draft another number leaves and joins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import heappush
from typing import Protocol

from llmsim.acceptance import PER_TOKEN, DrawnPace, Draws, Pace, SeenPace
from llmsim.engine.decode_batch import NO_STEP, Batch, finished, next_finish
from llmsim.engine.memory import KVMemory
from llmsim.engine.speculation.blocks import Blocks, DrawnBlocks, LaneBlocks, Reservation
from llmsim.request import Request, StepCounter

#: id of a request -> what its steps yield
DrawsOf = Callable[[int], Draws]


class SpeculatingBatch(Batch, Protocol):
    """What the engine needs of decoding sequences that speculate, beside what it needs of all."""

    reservation: Reservation
    draws: DrawsOf | None  #: what steps of requests yield, by id; None: even acceptance
    drafts: int  #: tokens that a sequence drafts in a step which joins
    changed: bool  #: whether one has joined or left since this was last set to False

    @property
    def mix(self) -> Mapping[int, int]:
        """How many sequences draft how many tokens in a step: tokens -> sequences."""

    @property
    def drafted(self) -> int:
        """Tokens that all sequences draft in a step."""

    @property
    def context(self) -> int:
        """Sum of the tokens that the next step attends to, without what it drafts; hundredths of a token."""

    @property
    def stride(self) -> int:
        """By how much that grows in a step; hundredths of a token."""

    def join(self, request: Request, output_left: int, drafts: int | None = None) -> None:
        """Let a request decode as in any batch, and draft so many tokens in each step; None: as `drafts` says."""

    def leave(self, request: Request, in_vain: int = 0) -> int:
        """Take a request out; return how many tokens it emitted since it joined, but in so many of the last steps."""


class Finishes:
    """When sequences are done, in steps of their batch."""

    __slots__ = ("_heap", "_output_left", "_step", "first")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []  # (step, id); some are stale
        self._step: dict[int, int] = {}
        self._output_left: dict[int, int] = {}
        self.first = NO_STEP  #: when the next one is done

    def add(self, id: int, step: int, output_left: int) -> None:
        """Note when one is done, which will have emitted so many tokens then."""
        self._step[id], self._output_left[id] = step, output_left
        heappush(self._heap, (step, id))
        self.first = min(self.first, step)

    def remove(self, id: int) -> int:
        """Forget one that leaves; return the tokens that it would have emitted."""
        if self._step.pop(id) == self.first:
            self.first = next_finish(self._heap, self._step)
        return self._output_left.pop(id)

    def by(self, now: int) -> Sequence[int]:
        """Ids of those that are done after so many steps, in order."""
        return finished(self._heap, self._step, now)


class SpeculativeBatch:
    """Decoding sequences as sums (`decode_batch.Batch`)."""

    __slots__ = (
        "_blocks",
        "_finishes",
        "_memory",
        "changed",
        "context",
        "counter",
        "drafted",
        "drafts",
        "draws",
        "members",
        "mix",
        "reservation",
        "sequences",
        "stride",
    )

    def __init__(self, memory: KVMemory, reservation: Reservation, draws: DrawsOf | None = None) -> None:
        self.reservation = reservation
        self.draws = draws
        self.drafts = self.drafted = 0
        self.counter = StepCounter()
        self.changed = True
        self.members: dict[int, Request] = {}
        self.mix: dict[int, int] = {}
        self.sequences = self.context = self.stride = 0
        self._memory = memory
        kind = LaneBlocks if draws is None else DrawnBlocks
        self._blocks: Blocks = kind(memory.block_tokens, reservation)
        self._finishes = Finishes()

    @property
    def context_tokens(self) -> int:
        """The same in tokens, rounded down."""
        return self.context // PER_TOKEN

    def join(self, request: Request, output_left: int, drafts: int | None = None) -> None:
        drafts = self.drafts if drafts is None else drafts
        counter, id = self.counter, request.id
        steps = counter.steps
        pace = paced(request, self, drafts, steps)
        self.members[id] = request
        self.sequences += 1
        self.mix[drafts] = self.mix.get(drafts, 0) + 1
        self.drafted += drafts
        self._blocks.join(id, pace, steps, output_left)
        self.context += pace.position + PER_TOKEN
        self.stride += pace.gain
        request.counter = counter
        request.joined_step = steps
        self.changed = True
        self._finishes.add(id, steps + pace.steps_for(output_left), output_left)

    def leave(self, request: Request, in_vain: int = 0) -> int:
        steps, id, pace = self.counter.steps, request.id, request.pace
        assert pace is not None
        del self.members[id]
        self.sequences -= 1
        since = steps - request.joined_step
        self.context -= pace.position + since * pace.gain + PER_TOKEN
        self.stride -= pace.gain
        self.drafted -= pace.drafts
        left = self.mix[pace.drafts] - 1
        if left:
            self.mix[pace.drafts] = left
        else:
            del self.mix[pace.drafts]
        self.changed = True
        emitted = stopped(request, pace, since, self._finishes.remove(id), in_vain)
        self._blocks.leave(id, pace, steps, request.prefilled_tokens + request.ahead_tokens)
        return emitted

    def blocks_needed(self) -> int:
        return self._blocks.within(1, self.counter.steps)

    def blocks_within(self, steps: int) -> int:
        return self._blocks.within(steps, self.counter.steps)

    def steps_ahead(self, free_blocks: int) -> int:
        now = self.counter.steps
        return self._blocks.steps_within(free_blocks, self._finishes.first - now, now, self.sequences, self.stride)

    def advance(self, steps: int) -> Sequence[int]:
        counter = self.counter
        now = counter.steps
        blocks = self._blocks.take(steps, now)
        if blocks:
            self._memory.take(blocks)
        self.context += steps * self.stride
        now = counter.steps = now + steps
        finishes = self._finishes
        return () if now < finishes.first else finishes.by(now)


def paced(request: Request, batch: SpeculatingBatch, drafts: int, steps: int) -> Pace:
    """Let a request that joins a batch after so many steps go on at the pace that so many drafts give it there."""
    base_tokens, drawn = request.prompt_tokens + request.emitted_before - 1, batch.draws
    gain, (reach, lag, _) = request.acceptance[drafts], batch.reservation
    memory = base_tokens, request.ahead_tokens, request.behind_tokens
    if drawn is None:
        request.pace = Pace(drafts, gain, request.phase, reach, lag, steps, *memory)
    else:
        counter = batch.counter
        pace = DrawnPace(drafts, gain, 0, reach, lag, steps, *memory).drawn(drawn(request.id), request.phase)
        request.pace = pace.seen(lambda: counter.steps)
        return pace
    return request.pace


def foreseeing(draws: DrawsOf) -> Callable[[Request], Pace | None]:
    """Return what tells the pace of a request with what it will yield; a function, so that no view leads there."""

    def pace_of(request: Request) -> Pace | None:
        pace = request.pace
        return pace.foreseen(draws(request.id)) if isinstance(pace, SeenPace) else pace

    return pace_of


def stopped(request: Request, pace: Pace, steps: int, output_left: int, in_vain: int) -> int:
    """Let a request that leaves be as it is after so many steps; return how many tokens it has emitted in them.

    The last `in_vain` of them have yielded nothing.
    """
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
