"""The same time for every step, as in queueing theory, whatever GPU and model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated

from pydantic import Field

from llmsim.errors import InputError
from llmsim.latency.contract import UNBOUNDED, Chunk, LatencyModel, Line

Seconds = Annotated[float, Field(ge=0, le=1e6)]


@dataclass(frozen=True)
class Constant(LatencyModel):
    """`step_s` a step, and a part for each token prefilled and each sequence decoded. Context is free."""

    step_s: Seconds  #: each step
    prefill_token_s: Seconds = 0.0  #: as much again for each token prefilled
    decode_seq_s: Seconds = 0.0  #: as much again for each sequence that decodes

    def __post_init__(self) -> None:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in values.items():
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name} = {value}, expected seconds, not negative")
        if not self.step_s and not (self.prefill_token_s and self.decode_seq_s):
            raise InputError("step_s = 0 with a free prefill or decode: every step must take time")

    @classmethod
    def examples(cls) -> Sequence[Constant]:
        """With and without free parts."""
        return cls(step_s=0.01, prefill_token_s=1e-4, decode_seq_s=1e-3), cls(step_s=1.0)

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: float) -> float:
        """Seconds of one step, as the contract says."""
        tokens = sum(chunk for _, chunk in prefill)
        return self.step_s + self.prefill_token_s * tokens + self.decode_seq_s * decoding

    def decode_line(self, decoding: int, context_tokens: float) -> Line:
        """Seconds of decode steps in a row, as the contract says."""
        return self.step_time_s((), decoding, context_tokens), 0.0, UNBOUNDED

    def speculating(self, query_tokens: float) -> Constant:
        """As the contract says: each token of a sequence takes as long as one does."""
        return Constant(self.step_s, self.prefill_token_s, self.decode_seq_s * query_tokens)
