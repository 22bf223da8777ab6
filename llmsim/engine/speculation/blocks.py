"""Which KV blocks speculating sequences take in the steps ahead.

Of even acceptance, sequences of one acceptance length are a *lane*: each of their positions, in hundredths of a token,
moves by the same amount in every step. A histogram of positions, modulo a block, then tells how many blocks any number
of steps takes. Where steps yield what is drawn, it is worked out when a sequence joins in which steps it takes blocks.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from typing import NamedTuple, Protocol

from llmsim.acceptance import PER_TOKEN, Pace
from llmsim.request import Request


class Reservation(NamedTuple):
    """What requests that speculate have memory for, as far as policies may know it."""

    reach: int  #: tokens, beyond those in memory, that each has memory for in a step
    lag: int = 0  #: 1: steps are decided while the ones before them run (`acceptance.Pace`)
    drawn: bool = False  #: whether what steps yield is drawn at random

    def next_tokens(self, request: Request, drafts: int) -> int:
        """Tokens that a decoding request has memory for once its next step has begun."""
        pace = request.pace
        if request.counter is not None and pace is not None:
            return pace.reserved_tokens(request.counter.steps - request.joined_step + 1)
        if self.drawn:
            return request.prefilled_tokens + self.reach
        position = PER_TOKEN * request.prefilled_tokens + request.phase
        return (position - self.lag * request.acceptance[drafts]) // PER_TOKEN + self.reach


class Blocks(Protocol):
    """What a batch needs to know of blocks; `now`: the steps that it has had."""

    def join(self, id: int, pace: Pace, now: int, output_left: int) -> None:
        """Reckon with the blocks that a request will take."""

    def leave(self, id: int, pace: Pace, now: int) -> None:
        """Reckon no longer with what a request would take."""

    def within(self, steps: int, now: int) -> int:
        """Blocks that so many steps take."""

    def take(self, steps: int, now: int) -> int:
        """The same, and these steps are taken."""

    def steps_within(self, free_blocks: int, most: int, now: int, sequences: int, stride: int) -> int:
        """Steps that take no more than so many blocks, up to `most`; `stride` as `SpeculatingBatch` has it."""


class Lane:
    """Sequences of one acceptance length, by their places in a block: they keep their distances as they move on."""

    __slots__ = ("_cycle", "_turned", "gain", "places")

    def __init__(self, gain: int, reservation: Reservation, block_tokens: int) -> None:
        self.gain = gain  #: hundredths of a token that each sequence moves by in a step
        self._cycle = block_tokens * PER_TOKEN
        # a step takes a block if it begins, for the first time, less than `reach` tokens before the end of the last one
        # (with `lag`: if the step before it does)
        self._turned = (reservation.reach - 1) * PER_TOKEN - (1 + reservation.lag) * gain
        self.places: list[int] = []  #: positions before the first step of the batch, modulo a block; ascending

    def join(self, position: int, steps: int) -> None:
        """Let one join with this position, in hundredths of a token, after so many steps of the batch."""
        insort(self.places, (position - steps * self.gain) % self._cycle)

    def leave(self, position: int, steps: int) -> None:
        """Let one leave that has joined so."""
        del self.places[bisect_left(self.places, (position - steps * self.gain) % self._cycle)]

    def within(self, steps: int, now: int) -> int:
        """Blocks that the next steps take after `now` steps, of sequences that have taken part in the one before."""
        places, cycle = self.places, self._cycle
        cycles, rest = divmod(steps * self.gain, cycle)
        first = (-rest - now * self.gain - self._turned) % cycle
        end = first + rest
        blocks = cycles * len(places) - bisect_left(places, first)
        if end <= cycle:
            return blocks + bisect_left(places, end)
        return blocks + len(places) + bisect_left(places, end - cycle)


class LaneBlocks:
    """`Blocks` of sequences that accept evenly."""

    __slots__ = ("_block_tokens", "_lanes", "_owed", "_reservation")

    def __init__(self, block_tokens: int, reservation: Reservation) -> None:
        self._block_tokens = block_tokens
        self._reservation = reservation
        self._lanes: dict[int, Lane] = {}  # by acceptance length
        self._owed: dict[int, int] = {}  # blocks that those just joined lack, or have too many of

    def join(self, id: int, pace: Pace, now: int, output_left: int) -> None:
        gain, size = pace.gain, self._block_tokens
        reach, lag, _ = self._reservation
        lane = self._lanes.get(gain)
        if lane is None:
            lane = self._lanes[gain] = Lane(gain, self._reservation, size)
        position = pace.position
        lane.join(position, now)
        # as if it had taken part in the step before, which would have begun with memory for this
        begun = (position - (1 + lag) * gain) // PER_TOKEN + reach
        owed = -(pace.base_tokens + pace.ahead_tokens) // size - -begun // size
        if owed:
            self._owed[id] = owed

    def leave(self, id: int, pace: Pace, now: int) -> None:
        lane = self._lanes[pace.gain]
        lane.leave(pace.position, pace.joined_step)
        if not lane.places:
            del self._lanes[pace.gain]
        if self._owed:
            self._owed.pop(id, None)

    def within(self, steps: int, now: int) -> int:
        if not steps:
            return 0
        blocks = sum(self._owed.values()) if self._owed else 0
        for lane in self._lanes.values():
            blocks += lane.within(steps, now)
        return blocks

    def take(self, steps: int, now: int) -> int:
        blocks = 0
        if self._owed:
            blocks = sum(self._owed.values())
            self._owed.clear()
        for lane in self._lanes.values():
            blocks += lane.within(steps, now)
        return blocks

    def steps_within(self, free_blocks: int, most: int, now: int, sequences: int, stride: int) -> int:
        at_most = sequences + most * stride // (self._block_tokens * PER_TOKEN)
        if self._owed:
            at_most += sum(self._owed.values())
        if at_most <= free_blocks or self.within(most, now) <= free_blocks:
            return most
        fit, beyond = 0, most
        while beyond - fit > 1:
            half = (fit + beyond) // 2
            if self.within(half, now) <= free_blocks:
                fit = half
            else:
                beyond = half
        return fit


class DrawnBlocks:
    """`Blocks` of sequences whose steps yield what is drawn."""

    __slots__ = ("_block_tokens", "_reservation", "_takers", "_takes")

    def __init__(self, block_tokens: int, reservation: Reservation) -> None:
        self._block_tokens = block_tokens
        self._reservation = reservation
        self._takes: Counter[int] = Counter()  # blocks by step of the batch
        self._takers: dict[int, list[int]] = {}  # steps in which each request takes its blocks

    def join(self, id: int, pace: Pace, now: int, output_left: int) -> None:
        """Note in which steps it takes blocks: until it is done, and one step more where that may be in vain."""
        size, (reach, lag, _) = self._block_tokens, self._reservation
        held, last = pace.reserved_tokens(0), pace.reserved_tokens(pace.steps_for(output_left) + lag)
        takes = []
        for block in range(-(-held // size), -(-last // size)):
            lacking = block * size + 1 - pace.base_tokens - reach
            takes.append(now + 1 + (lag + pace.steps_for(lacking) if lacking > 0 else 0))
        self._takes.update(takes)
        self._takers[id] = takes

    def leave(self, id: int, pace: Pace, now: int) -> None:
        self._takes.subtract([step for step in self._takers.pop(id) if step > now])

    def within(self, steps: int, now: int) -> int:
        takes = self._takes
        return sum(takes[step] for step in range(now + 1, now + steps + 1))

    def take(self, steps: int, now: int) -> int:
        return self.within(steps, now)

    def steps_within(self, free_blocks: int, most: int, now: int, sequences: int, stride: int) -> int:
        takes, steps = self._takes, 0
        while steps < most and (free_blocks := free_blocks - takes[now + steps + 1]) >= 0:
            steps += 1
        return steps
