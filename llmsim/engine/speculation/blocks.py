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

NOT_ASKED = -1  #: no step


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

    def leave(self, id: int, pace: Pace, now: int, reserved_tokens: int) -> None:
        """Reckon no longer with what a request would take, which has memory for so many tokens."""

    def within(self, steps: int, now: int) -> int:
        """Blocks that so many steps take."""

    def take(self, steps: int, now: int) -> int:
        """The same, and these steps are taken."""

    def steps_within(self, free_blocks: int, most: int, now: int, sequences: int, stride: int) -> int:
        """Steps that take no more than so many blocks, up to `most`; `stride` as `SpeculatingBatch` has it."""


class Lane:
    """Sequences of one acceptance length, by their places in a block: they keep their distances as they move on."""

    __slots__ = ("_cycle", "_turned", "_whole", "gain", "places")

    def __init__(self, gain: int, reservation: Reservation, block_tokens: int) -> None:
        self.gain = gain  #: hundredths of a token that each sequence moves by in a step
        self._cycle = block_tokens * PER_TOKEN
        # a step that begins less than `reach` tokens before the end of a block has one block more (with `lag`: if the
        # step before it does)
        self._turned = (reservation.reach - 1) * PER_TOKEN - (1 + reservation.lag) * gain
        self.places: list[int] = []  #: positions before the first step of the batch, modulo a block; ascending
        self._whole = 0  # blocks before these places, and the ones that they are in

    def join(self, position: int, steps: int) -> None:
        """Let one join with this position, in hundredths of a token, after so many steps of the batch."""
        whole, place = divmod(position - steps * self.gain, self._cycle)
        self._whole += whole + 1
        insort(self.places, place)

    def leave(self, position: int, steps: int) -> None:
        """Let one leave that has joined so."""
        whole, place = divmod(position - steps * self.gain, self._cycle)
        self._whole -= whole + 1
        del self.places[bisect_left(self.places, place)]

    def upto(self, step: int) -> int:
        """Blocks that these sequences have once so many steps of the batch have begun, the last with all of them."""
        cycle, places = self._cycle, self.places
        cycles, rest = divmod(step * self.gain + self._turned, cycle)
        return self._whole + (cycles + 1) * len(places) - bisect_left(places, cycle - rest)


class LaneBlocks:
    """`Blocks` of sequences that accept evenly."""

    __slots__ = ("_asked", "_block_tokens", "_held", "_lanes", "_reservation", "_then")

    def __init__(self, block_tokens: int, reservation: Reservation) -> None:
        self._block_tokens = block_tokens
        self._reservation = reservation
        self._lanes: dict[int, Lane] = {}  # by acceptance length
        self._held = 0  # blocks that all have now: those just joined may have others than their lane tells
        self._asked = NOT_ASKED  # the step that was asked for last,
        self._then = 0  # and the blocks that all have once it has begun

    def join(self, id: int, pace: Pace, now: int, output_left: int) -> None:
        lane = self._lanes.get(pace.gain)
        if lane is None:
            lane = self._lanes[pace.gain] = Lane(pace.gain, self._reservation, self._block_tokens)
        lane.join(pace.position, now)
        self._held -= -(pace.base_tokens + pace.ahead_tokens) // self._block_tokens  # rounded up
        self._asked = NOT_ASKED

    def leave(self, id: int, pace: Pace, now: int, reserved_tokens: int) -> None:
        lane = self._lanes[pace.gain]
        lane.leave(pace.position, pace.joined_step)
        if not lane.places:
            del self._lanes[pace.gain]
        self._held += -reserved_tokens // self._block_tokens
        self._asked = NOT_ASKED

    def within(self, steps: int, now: int) -> int:
        if not steps:
            return 0
        step = now + steps
        if step != self._asked:
            blocks = 0
            for lane in self._lanes.values():
                blocks += lane.upto(step)
            self._asked, self._then = step, blocks
        return self._then - self._held

    def take(self, steps: int, now: int) -> int:
        blocks = self.within(steps, now)
        self._held += blocks
        return blocks

    def steps_within(self, free_blocks: int, most: int, now: int, sequences: int, stride: int) -> int:
        size = self._block_tokens
        # each has at most its part of the stride, `reach` tokens that it lacks if it has just joined, and rounding
        at_most = most * stride // (size * PER_TOKEN) + sequences * (3 + self._reservation.reach // size)
        if at_most < free_blocks or self.within(most, now) <= free_blocks:
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

    def leave(self, id: int, pace: Pace, now: int, reserved_tokens: int) -> None:
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
