"""How many tokens a speculating request yields in its steps: *even acceptance*, in whole numbers.

In each step a request verifies the tokens that were drafted for it, keeps those that the model would have written
itself, and gets one more. Its acceptance length is the mean number of tokens that a step yields, here in hundredths.
Step by step a request yields as close to that as whole tokens can be: after s steps ``(s * gain + phase) // 100``,
where `gain` is the acceptance length and `phase` (0 to 99) its own. A step thus yields the acceptance length rounded
down or up, as with vLLM's `synthetic_acceptance_length`, and over all phases exactly that on average, but nothing is
drawn in a step. So what any number of steps yields is known in O(1).
"""

from __future__ import annotations

#: acceptance lengths and phases are in this fraction of a token
PER_TOKEN = 100


class Pace:
    """The tokens of one request while it is in the batch, by the steps since it joined.

    A step begins with memory for `reach` tokens beyond those that are in memory: its own, the drafted ones, and those
    that the drafter looks ahead. What it accepts is known when the next one begins, and so is what fills a block. Where
    a step is decided while the one before it runs, all this is as of one step earlier (`lag` = 1): what that one
    accepts is not known.
    """

    __slots__ = ("ahead_tokens", "base_tokens", "behind_tokens", "gain", "joined_step", "lag", "phase", "reach")

    def __init__(
        self, gain: int, phase: int, reach: int, lag: int, joined_step: int, base_tokens: int, ahead: int, behind: int
    ) -> None:
        self.gain = gain  #: hundredths of a token that each step yields
        self.phase = phase  #: hundredths of a token that it had when it joined
        self.reach = reach
        self.lag = lag
        self.joined_step = joined_step  #: of its instance
        self.base_tokens = base_tokens  #: in memory when it joined
        self.ahead_tokens = ahead  #: more that it had memory for
        self.behind_tokens = behind  #: of those in memory, not known yet

    def tokens(self, steps: int) -> int:
        """How many tokens so many steps yield."""
        return (steps * self.gain + self.phase) // PER_TOKEN

    def steps_for(self, tokens: int) -> int:
        """How many steps it takes to yield so many tokens."""
        return -((self.phase - PER_TOKEN * tokens) // self.gain)

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
