"""The contract of a latency model: how long a step takes on the GPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

#: (tokens of the request already computed, tokens computed in this step)
Chunk = tuple[int, int]

#: decode steps in a row: seconds of the first, seconds that each takes longer than the one before, for how many steps
#: that holds
Line = tuple[float, float, int]
UNBOUNDED = 1 << 40  #: steps: more than there ever are


class LatencyModel(ABC):
    """Seconds per engine step. Subclasses are pure: the same batch always takes the same time."""

    @abstractmethod
    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: int) -> float:
        """Seconds of one step that prefills these chunks and decodes one token for each of `decoding` sequences.

        `context_tokens` is the sum over the decoding sequences of the tokens that they attend to, the one being
        computed included. At least one of `prefill` and `decoding` is not empty.
        """

    def decode_line(self, decoding: int, context_tokens: int) -> Line:
        """Return the times of decode steps in a row, as far as they lie on a line: at least of one.

        Contexts grow by one token per sequence and step. The first takes ``step_time_s((), decoding, context_tokens)``
        to the bit, step k what that is for ``context_tokens + k * decoding``, up to rounding. Override it: steps on one
        line cost as much as one step.
        """
        return self.step_time_s((), decoding, context_tokens), 0.0, 1
