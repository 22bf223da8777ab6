"""Step times that are all off by the same factor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmsim.latency.contract import Chunk, LatencyModel, Line, Measured


@dataclass(frozen=True)
class Scaled(LatencyModel):
    """Every step takes `factor` times as long as another model says."""

    latency: LatencyModel
    factor: float

    @property
    def basis(self) -> str:
        """What the other's times rest on, and the factor."""
        return f"{self.latency.basis}, times {self.factor:g}"

    @property
    def measured(self) -> Measured | None:
        """Those of the times that this rests on."""
        return self.latency.measured

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: float) -> float:
        """Seconds of one step, as the contract says."""
        return self.factor * self.latency.step_time_s(prefill, decoding, context_tokens)

    def decode_line(self, decoding: int, context_tokens: float) -> Line:
        """Seconds of decode steps in a row, as the contract says."""
        first_s, growth_s, steps = self.latency.decode_line(decoding, context_tokens)
        return self.factor * first_s, self.factor * growth_s, steps

    def speculating(self, query_tokens: float) -> Scaled:
        """As the contract says."""
        return Scaled(self.latency.speculating(query_tokens), self.factor)

    def with_layers(self, share: float, head: float = 1.0) -> Scaled:
        """As the contract says."""
        return Scaled(self.latency.with_layers(share, head), self.factor)
