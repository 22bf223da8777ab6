"""The contract of a latency model: how long a step takes on the GPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

#: (tokens of the request already computed, tokens computed in this step)
Chunk = tuple[int, int]


class LatencyModel(ABC):
    """Seconds per engine step. Subclasses are pure: the same batch always takes the same time."""

    @abstractmethod
    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: int) -> float:
        """Seconds of one step that prefills these chunks and decodes one token for each of `decoding` sequences.

        `context_tokens` is the sum over the decoding sequences of the tokens that they attend to, the one being
        computed included. At least one of `prefill` and `decoding` is not empty.
        """

    def decode_times_s(self, decoding: int, context_tokens: int, steps: int) -> Sequence[float]:
        """Seconds of each of `steps` decode steps in a row, as plain floats.

        Contexts grow by one token per sequence and step. Entry k equals
        ``step_time_s((), decoding, context_tokens + k * decoding)`` to the bit; override it to be faster.
        """
        return [self.step_time_s((), decoding, context_tokens + k * decoding) for k in range(steps)]
