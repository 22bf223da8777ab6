"""The reference path: every step on its own, every sequence on its own, the scheduler asked each time.

It shares the rules of the loop and of the states, and none of their short cuts: sums are counted anew, finishes and
block needs are found by looking at every sequence, every step makes an event, every step's time is asked for. What is
shared is the formula of step ends (stretch.py), so that both paths can agree to the bit, as the tests demand. Slow on
purpose; `--stepwise` runs it.
"""

from __future__ import annotations

from math import isclose

from llmsim.engine.memory import KVMemory
from llmsim.engine.step_times import StepTimes
from llmsim.engine.stretch import Stretch
from llmsim.errors import PolicyError
from llmsim.request import Request, StepCounter


class ListBatch:
    """Decoding sequences as a list (`decode_batch.Batch`)."""

    def __init__(self, memory: KVMemory) -> None:
        self.counter = StepCounter()
        self._memory = memory
        self.members: dict[int, Request] = {}
        self._output_left: dict[int, int] = {}

    @property
    def sequences(self) -> int:
        return len(self.members)

    @property
    def context_tokens(self) -> int:
        return sum(request.computed_tokens + 1 for request in self.members.values())

    def join(self, request: Request, output_left: int) -> None:
        request.counter = self.counter
        request.joined_step = self.counter.steps
        self.members[request.id] = request
        self._output_left[request.id] = output_left

    def leave(self, request: Request) -> int:
        emitted = self.counter.steps - request.joined_step
        request.prefilled_tokens = request.computed_tokens
        request.emitted_before += emitted
        request.counter = None
        del self.members[request.id], self._output_left[request.id]
        return emitted

    def blocks_needed(self) -> int:
        return self.blocks_within(1)

    def blocks_within(self, steps: int) -> int:
        blocks = self._memory.blocks_for
        held = [request.computed_tokens for request in self.members.values()]
        return sum(blocks(tokens + steps) - blocks(tokens) for tokens in held)

    def steps_ahead(self, free_blocks: int) -> int:
        first_finish = min(self._output_left.values())
        steps = 0
        while steps < first_finish and self.blocks_within(steps + 1) <= free_blocks:
            steps += 1
        return steps

    def advance(self, steps: int) -> list[int]:
        self._memory.take(self.blocks_within(steps))
        self.counter.steps += steps
        for id in self._output_left:
            self._output_left[id] -= steps
        return sorted(id for id, left in self._output_left.items() if left == 0)


class SingleSteps(StepTimes):
    """Step times that are asked for step by step."""

    __slots__ = ()

    def decode(self, start_s: float, most: int) -> Stretch:
        """Take one step, and compare what the latency model says of it as one of many with what it says of it alone."""
        stretch = super().decode(start_s, most)
        step_s = self.alone_s(stretch)
        on_line_s = stretch.first_s + stretch.offset * stretch.growth_s
        if not isclose(on_line_s, step_s, rel_tol=1e-9):
            raise PolicyError(
                f"{type(self.latency).__name__}: decode_line gives {on_line_s} s to a step of {stretch.decoding} "
                f"sequences and {stretch.context_tokens} tokens of context, step_time_s gives {step_s} s"
            )
        return stretch
