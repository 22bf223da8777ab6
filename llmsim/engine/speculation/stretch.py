"""When steps end in which sequences speculate (see engine/stretch.py).

A step verifies, of each decoding sequence, the drafted tokens and the one before them. The sum of contexts grows by
the sequences' acceptance lengths, which are no whole numbers: it is kept in hundredths of a token.
"""

from __future__ import annotations

from llmsim.acceptance import PER_TOKEN
from llmsim.engine.stretch import Stretch


class SpeculativeStretch(Stretch):
    """Steps under way in which sequences speculate."""

    __slots__ = ("context", "drafted", "stride")

    context: int  #: sum of the contexts that the first of the steps attends to, hundredths of a token
    stride: int  #: by how much it grows in each step

    def continues(self, now_s: float, context: int, stride: int) -> bool:
        """Whether the next step is one further on the same line; where sequences join or leave, it ends."""
        return (
            self.offset + self.steps < self.line_steps
            and self.end_s == now_s
            and self.stride == stride
            and self.context + self.steps * self.stride == context
        )

    def next_steps(self, most: int) -> SpeculativeStretch:
        """Return what follows on the same line, at most so many steps."""
        offset, context = self.offset + self.steps, self.context + self.steps * self.stride
        line = self.anchor_s, self.first_s, self.growth_s, self.line_steps
        steps = min(most, self.line_steps - offset)
        following = SpeculativeStretch().begin(*line, offset, steps, self.decoding, context // PER_TOKEN)
        following.context, following.stride, following.drafted = context, self.stride, self.drafted
        return following
