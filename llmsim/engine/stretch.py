"""When steps end: a stretch of them at once, each by one formula, none by adding up those before it.

While the same sequences decode, their contexts grow by one token each per step, and a step takes `growth_s` longer than
the one before (as long as the latency model is on one line of its piecewise-linear curve). Step k counted from an
*anchor* then ends at

    anchor_s + (k first_s + k (k - 1) / 2 growth_s)

so that a stretch of any length costs O(1), and the ends of all its steps need not be known before the run is over. A
stretch that goes on where another one was cut keeps its anchor: cutting changes no bit, and a run step by step has the
same times as one in stretches.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nextafter, sqrt
from typing import Self

from llmsim.request import Request

NEAR = 1e-4  #: steps; how near a boundary `Stretch.ended_before` looks at it
ROUNDING = 1e-14  #: of times, relative: 45 times that of one operation


class Stretch:
    """Steps that are under way: one that may prefill, or any number that only decode (`Stretch().begin(...)`)."""

    __slots__ = (
        "anchor_s",
        "context_tokens",
        "decoding",
        "end_s",
        "first_s",
        "growth_s",
        "kv_blocks_used",
        "line_steps",
        "offset",
        "prefill",
        "prefill_tokens",
        "running",
        "steps",
        "waiting",
    )

    drafted: int = 0  #: tokens that all sequences together draft in each step: where they speculate
    # what the instance holds meanwhile, noted when the steps have ended
    kv_blocks_used: int
    waiting: int  #: requests
    running: int

    def begin(
        self,
        anchor_s: float,
        first_s: float,
        growth_s: float,
        line_steps: int,
        offset: int,
        steps: int,
        decoding: int,
        context_tokens: int,
        prefill: Sequence[tuple[Request, int]] = (),
        prefill_tokens: int = 0,
    ) -> Self:
        """Be these steps. Called `__init__`, this would take Python 3.11 half as long again, three times a request."""
        self.anchor_s = anchor_s
        self.first_s = first_s  #: how long the first step from the anchor takes
        self.growth_s = growth_s  #: how much longer than the one before each further one takes
        self.line_steps = line_steps  #: for how many steps from the anchor that holds
        self.offset = offset  #: steps from the anchor to the start
        self.steps = steps  #: how many there are from there on
        self.decoding = decoding  #: sequences that emit a token in each step
        self.context_tokens = context_tokens  #: sum of the contexts that the first of the steps attends to
        self.prefill = prefill  #: requests and the tokens of each to compute
        self.prefill_tokens = prefill_tokens  #: of all of them
        k = offset + steps
        self.end_s = anchor_s + (first_s * k + growth_s * (k * (k - 1) >> 1))
        return self

    def step_end_s(self, step: int) -> float:
        """When a step ends, counted from 1; 0: when the first one starts."""
        k = self.offset + step
        return self.anchor_s + (self.first_s * k + self.growth_s * (k * (k - 1) >> 1))

    def goes_on(self, now_s: float, decoding: int, context_tokens: int) -> bool:
        """Whether the next step is one further on the same line: the same sequences, right after this stretch."""
        return (
            self.offset + self.steps < self.line_steps
            and self.end_s == now_s
            and self.decoding == decoding
            and self.context_tokens + self.steps * decoding == context_tokens
        )

    def next(self, most: int) -> Stretch:
        """Return what follows on the same line, at most so many steps."""
        offset, context_tokens = self.offset + self.steps, self.context_tokens + self.steps * self.decoding
        steps = min(most, self.line_steps - offset)
        line = self.anchor_s, self.first_s, self.growth_s, self.line_steps
        return Stretch().begin(*line, offset, steps, self.decoding, context_tokens)

    def cut(self, steps: int) -> float:
        """Take fewer steps; return when the last of them ends."""
        self.steps = steps
        k = self.offset + steps
        end_s = self.end_s = self.anchor_s + (self.first_s * k + self.growth_s * (k * (k - 1) >> 1))
        return end_s

    def ended_before(self, time_s: float) -> int:
        """How many of the steps end before a time. Costs O(1)."""
        if time_s > self.end_s:
            return self.steps
        # solve the formula for the step that is under way; rounding counts only near a boundary
        growth_s, since_s = self.growth_s, time_s - self.anchor_s
        if since_s <= 0.0:
            return 0
        slope_s = self.first_s - 0.5 * growth_s
        square = slope_s * slope_s + 2.0 * growth_s * since_s
        root_s = sqrt(square) if square > 0.0 else 0.0
        solved = 2.0 * since_s / (slope_s + root_s or self.first_s) - self.offset
        step = int(solved)
        near = NEAR + ROUNDING * time_s / self.first_s
        if near < solved - step < 1.0 - near and step < self.steps:
            return step
        step = min(max(step, 0), self.steps)
        while step and self.step_end_s(step) >= time_s:
            step -= 1
        while step < self.steps and self.step_end_s(step + 1) < time_s:
            step += 1
        return step

    def ended_by(self, time_s: float) -> int:
        """How many of the steps end before a time, or at it."""
        return self.ended_before(nextafter(time_s, inf))
