"""How many tokens a speculating request yields in its steps: *even acceptance*, in whole numbers.

In each step a request verifies the tokens that were drafted for it, keeps those that the model would have written
itself, and gets one more. Its acceptance length is the mean number of tokens that a step yields, here in hundredths.
Step by step a request yields as close to that as whole tokens can be: after s steps ``(s * gain + phase) // 100``,
where `gain` is the acceptance length and `phase` (0 to 99) its own. A step thus yields the acceptance length rounded
down or up, as with vLLM's `synthetic_acceptance_length`, and over all phases exactly that on average, but nothing is
drawn in a step. So what any number of steps yields is known in O(1).

*Random acceptance* draws what each step yields, from a stream of the request's own: for the spread. Both ways of
simulating see the same draws, whatever else happens.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import PolicyError

#: acceptance lengths and phases are in this fraction of a token
PER_TOKEN = 100
DRAWN_AT_ONCE = 64  #: steps of a request
TO_COME = "asks what steps to come will yield, which is not known before they end"


class Pace:
    """The tokens of one request while it is in the batch, by the steps since it joined.

    A step begins with memory for `reach` tokens beyond those that are in memory: its own, the drafted ones, and those
    that the drafter looks ahead. What it accepts is known when the next one begins, and so is what fills a block. Where
    a step is decided while the one before it runs, all this is as of one step earlier (`lag` = 1): what that one
    accepts is not known.
    """

    __slots__ = (
        "ahead_tokens",
        "base_tokens",
        "behind_tokens",
        "drafts",
        "gain",
        "joined_step",
        "lag",
        "phase",
        "position",
        "reach",
    )

    def __init__(
        self,
        drafts: int,
        gain: int,
        phase: int,
        reach: int,
        lag: int,
        joined_step: int,
        base_tokens: int,
        ahead: int,
        behind: int,
    ) -> None:
        self.drafts = drafts  #: tokens that it drafts in a step
        self.gain = gain  #: hundredths of a token that each step yields
        self.phase = phase  #: hundredths of a token that it had when it joined
        self.reach = reach
        self.lag = lag
        self.joined_step = joined_step  #: of its instance
        self.base_tokens = base_tokens  #: in memory when it joined
        self.ahead_tokens = ahead  #: more that it had memory for
        self.behind_tokens = behind  #: of those in memory, not known yet
        self.position = base_tokens * PER_TOKEN + phase  #: in memory when it joined, hundredths of a token

    def tokens(self, steps: int) -> int:
        """How many tokens so many steps yield."""
        return (steps * self.gain + self.phase) // PER_TOKEN

    def steps_for(self, tokens: int) -> int:
        """How many steps it takes to yield so many tokens."""
        return -((self.phase - PER_TOKEN * tokens) // self.gain)

    @property
    def begun_with(self) -> int:
        """The phase with which it has joined."""
        return self.phase

    def phase_after(self, steps: int) -> int:
        """Return the phase with which it goes on after so many steps."""
        return (steps * self.gain + self.phase) % PER_TOKEN

    def known_tokens(self, steps: int, ahead: int = 0) -> int:
        """Tokens in memory and known after so many steps, when `ahead` more have begun, the one to compute included."""
        begun = steps + ahead
        if not begun:
            return self.base_tokens - self.behind_tokens
        if not self.lag:
            return self.base_tokens + 1 + self.tokens(begun - 1)
        if not ahead:  # the last of the steps is in flight
            return self.base_tokens + self.tokens(steps - 1)
        return self.base_tokens + 1 + self.tokens(begun - 2) if begun > 1 else self.base_tokens

    def reserved_tokens(self, steps: int) -> int:
        """Tokens that it has memory for once so many steps have begun."""
        if not steps:
            return self.base_tokens + self.ahead_tokens
        return self.base_tokens + self.tokens(steps - 1 - self.lag) + self.reach

    def step_that_knows(self, tokens: int) -> int:
        """Which step of its instance is the first one to begin with so many tokens known; more than it joined with."""
        return self.joined_step + 1 + self.lag + self.steps_for(tokens - 1 - self.base_tokens)


class Draws:
    """How many tokens the steps of one request yield, drawn as they are asked for."""

    __slots__ = ("_rates", "_rng", "through")

    def __init__(self, rng: np.random.Generator, rates: NDArray[np.float64]) -> None:
        self.through = [0]  #: tokens after 0, 1, ... steps, as many as have been asked for
        self._rng = rng
        self._rates = -rates  # ascending: shares of steps in which so many drafted tokens are accepted

    def upto(self, steps: int) -> list[int]:
        """Return tokens after 0, 1, ... steps, at least so many."""
        through = self.through
        while len(through) <= steps:
            accepted = np.searchsorted(self._rates, -self._rng.random(DRAWN_AT_ONCE), side="left")
            through += (through[-1] + np.cumsum(1 + accepted)).tolist()
        return through


class SeenPace(Pace):
    """A pace whose steps yield what is drawn, as policies may see it: what steps have yielded, and no more.

    Its phase is the number of steps that the request has had before.
    """

    __slots__ = ("_yielded", "start")

    _yielded: Callable[[int], int]
    start: int

    def of(self, yielded: Callable[[int], int], start: int) -> SeenPace:
        """Go on after so many steps with what further ones have yielded."""
        self._yielded, self.start = yielded, start
        return self

    @property
    def begun_with(self) -> int:
        """The number of steps that the request had had when it joined."""
        return self.start

    def tokens(self, steps: int) -> int:
        """How many tokens so many steps yield; none before the first. `PolicyError` for steps to come."""
        return self._yielded(steps) if steps > 0 else 0

    def steps_for(self, tokens: int) -> int:
        """Raise `PolicyError`: that is not known."""
        raise PolicyError(TO_COME)

    def phase_after(self, steps: int) -> int:
        """How many steps the request has had after so many."""
        return self.start + steps

    def foreseen(self, draws: Draws) -> DrawnPace:
        """Return the same pace as the engine knows it."""
        memory = self.joined_step, self.base_tokens, self.ahead_tokens, self.behind_tokens
        return DrawnPace(self.drafts, self.gain, self.phase, self.reach, self.lag, *memory).drawn(draws, self.start)


class DrawnPace(SeenPace):
    """The same as the engine knows it: with what steps will yield."""

    __slots__ = ("_draws",)

    _draws: Draws

    def drawn(self, draws: Draws, start: int) -> DrawnPace:
        """Go on with these draws after so many steps."""
        self._draws, self.start = draws, start
        return self

    def tokens(self, steps: int) -> int:
        """How many tokens so many steps yield; none before the first."""
        if steps <= 0:
            return 0
        through = self._draws.upto(self.start + steps)
        return through[self.start + steps] - through[self.start]

    def steps_for(self, tokens: int) -> int:
        """How many steps it takes to yield so many tokens: each yields one at least."""
        if tokens <= 0:
            return 0
        through = self._draws.upto(self.start + tokens)
        return bisect_left(through, through[self.start] + tokens, self.start) - self.start

    def seen(self, now: Callable[[], int]) -> SeenPace:
        """Return the same without what is to come; `now` tells the steps that its instance has had."""
        tokens, joined_step = self.tokens, self.joined_step

        def yielded(steps: int) -> int:
            if joined_step + steps > now():
                raise PolicyError(TO_COME)
            return tokens(steps)

        memory = joined_step, self.base_tokens, self.ahead_tokens, self.behind_tokens
        return SeenPace(self.drafts, self.gain, self.phase, self.reach, self.lag, *memory).of(yielded, self.start)
