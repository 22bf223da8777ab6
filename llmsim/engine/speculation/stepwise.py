"""The reference path of speculation: every sequence on its own, token by token (see stepwise.py)."""

from __future__ import annotations

from collections import Counter

from llmsim.acceptance import PER_TOKEN, Draws
from llmsim.engine.memory import KVMemory
from llmsim.engine.speculation.batch import DrawsOf, paced, stopped
from llmsim.engine.speculation.blocks import Reservation
from llmsim.engine.speculation.steps import SpeculativeStepTimes
from llmsim.engine.stepwise import SingleSteps
from llmsim.request import Request, StepCounter


class Member:
    """A decoding sequence that is counted on its own."""

    def __init__(self, request: Request, drafts: int, lag: int, output_left: int, draws: Draws | None) -> None:
        self.request = request
        self.drafts = drafts
        self.lag = lag
        self.gain = request.acceptance[drafts]
        self.output_left = output_left
        self.computed_tokens = request.prefilled_tokens
        self.reserved_tokens = request.prefilled_tokens + request.ahead_tokens
        self.begun_with = request.prefilled_tokens  #: tokens in memory when the latest step began
        self.draws = draws  #: what its steps yield, drawn; None: even acceptance
        self.verified = 0 if draws is None else request.phase  #: steps so far
        self.fraction = request.phase if draws is None else 0  #: of the next token, hundredths
        self.position = PER_TOKEN * self.computed_tokens + self.fraction  #: of what is drawn, the mean

    def step(self, reach: int) -> None:
        """Take memory for a step, and yield what it yields."""
        begins_with = (PER_TOKEN * self.computed_tokens + self.fraction - self.lag * self.gain) // PER_TOKEN
        if self.draws is not None:
            begins_with = self.begun_with if self.lag else self.computed_tokens
        self.reserved_tokens = max(self.reserved_tokens, begins_with + reach)
        self.begun_with = self.computed_tokens
        self.position += self.gain
        if self.draws is not None:
            through = self.draws.upto(self.verified + 1)
            self.verified += 1
            self.computed_tokens += through[self.verified] - through[self.verified - 1]
            self.output_left -= through[self.verified] - through[self.verified - 1]
            return
        self.fraction += self.gain
        while self.fraction >= PER_TOKEN:
            self.fraction -= PER_TOKEN
            self.computed_tokens += 1
            self.output_left -= 1

    def copy(self) -> Member:
        """Return one that can be tried out."""
        twin = Member(self.request, self.drafts, self.lag, self.output_left, self.draws)
        twin.begun_with, twin.verified = self.begun_with, self.verified
        twin.computed_tokens, twin.reserved_tokens = self.computed_tokens, self.reserved_tokens
        twin.fraction, twin.position = self.fraction, self.position
        return twin


class SpeculativeListBatch:
    """Decoding sequences as a list (`decode_batch.Batch`), with what `SpeculativeBatch` tells more."""

    def __init__(self, memory: KVMemory, reservation: Reservation, draws: DrawsOf | None = None) -> None:
        self.reservation = reservation
        self.draws = draws
        self.counter = StepCounter()
        self.drafts = 0
        self.changed = True
        self.members: dict[int, Request] = {}
        self._memory = memory
        self._counted: dict[int, Member] = {}

    @property
    def sequences(self) -> int:
        return len(self._counted)

    @property
    def mix(self) -> Counter[int]:
        return Counter(each.drafts for each in self._counted.values())

    @property
    def drafted(self) -> int:
        return sum(each.drafts for each in self._counted.values())

    @property
    def context(self) -> int:
        return sum(each.position + PER_TOKEN for each in self._counted.values())

    @property
    def context_tokens(self) -> int:
        return self.context // PER_TOKEN

    @property
    def stride(self) -> int:
        return sum(each.gain for each in self._counted.values())

    def join(self, request: Request, output_left: int, drafts: int | None = None) -> None:
        drafts = self.drafts if drafts is None else drafts
        paced(request, self, drafts, self.counter.steps)
        self.members[request.id] = request
        own = None if self.draws is None else self.draws(request.id)
        self._counted[request.id] = Member(request, drafts, self.reservation.lag, output_left, own)
        request.counter = self.counter
        request.joined_step = self.counter.steps
        self.changed = True

    def leave(self, request: Request, in_vain: int = 0) -> int:
        self.changed = True
        member = self._counted.pop(request.id)
        del self.members[request.id]
        pace = request.pace
        assert pace is not None
        steps, joined_with = self.counter.steps - request.joined_step, pace.base_tokens
        output_left = member.output_left + member.computed_tokens - joined_with
        assert member.computed_tokens == request.computed_tokens, "tokens counted one by one differ from the formula"
        assert member.reserved_tokens == request.reserved_tokens, "memory counted step by step differs from the formula"
        return stopped(request, pace, steps, output_left, in_vain)

    def blocks_needed(self) -> int:
        return self.blocks_within(1)

    def blocks_within(self, steps: int) -> int:
        blocks, taken = self._memory.blocks_for, 0
        for each in self._counted.values():
            later = each.copy()
            for _ in range(steps):
                later.step(self.reservation.reach)
            taken += blocks(later.reserved_tokens) - blocks(each.reserved_tokens)
        return taken

    def steps_ahead(self, free_blocks: int) -> int:
        steps, left = 0, [each.copy() for each in self._counted.values()]
        while all(each.output_left > 0 for each in left) and self.blocks_within(steps + 1) <= free_blocks:
            steps += 1
            for each in left:
                each.step(self.reservation.reach)
        return steps

    def advance(self, steps: int) -> list[int]:
        self._memory.take(self.blocks_within(steps))
        self.counter.steps += steps
        left = {id: each.output_left for id, each in self._counted.items()}
        for each in self._counted.values():
            for _ in range(steps):
                each.step(self.reservation.reach)
        return sorted(id for id, each in self._counted.items() if each.output_left <= 0 < left[id])


class SpeculativeSingleSteps(SingleSteps, SpeculativeStepTimes):
    """Step times that are asked for step by step."""

    __slots__ = ()
