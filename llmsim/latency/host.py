"""Time that a step takes outside the GPU: scheduling, preparing inputs, sampling, detokenising, in Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmsim.errors import InputError
from llmsim.latency.contract import Chunk, LatencyModel, Line


@dataclass(frozen=True)
class Host(LatencyModel):
    """GPU time plus `step_s` a step and `sequence_s` for each sequence in it, prefilling or decoding.

    A step of more tokens than the largest CUDA graph takes `eager_step_s` more: the host launches its kernels one by
    one (vLLM's `max_cudagraph_capture_size`). For engines whose host waits for the GPU and the GPU for the host; one
    that overlaps both hides most of it.
    """

    gpu: LatencyModel
    step_s: float = 0.0
    sequence_s: float = 0.0
    eager_step_s: float = 0.0
    max_cudagraph_capture_size: int | None = None  #: tokens; None: every step is in a graph

    def __post_init__(self) -> None:
        for name in ("step_s", "sequence_s", "eager_step_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"host {name} = {value}, expected seconds, not negative")

    @property
    def basis(self) -> str:
        """What the GPU's times rest on."""
        return self.gpu.basis

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: int) -> float:
        """Seconds of one step, as the contract says."""
        tokens = decoding + sum(tokens for _, tokens in prefill)
        host_s = self.host_s(decoding + len(prefill), tokens)
        return self.gpu.step_time_s(prefill, decoding, context_tokens) + host_s

    def decode_line(self, decoding: int, context_tokens: int) -> Line:
        """Seconds of decode steps in a row, as the contract says."""
        gpu_s, growth_s, steps = self.gpu.decode_line(decoding, context_tokens)
        return gpu_s + self.host_s(decoding, decoding), growth_s, steps

    def host_s(self, sequences: int, tokens: int) -> float:
        """Seconds of the host in a step of so many tokens."""
        host_s = self.step_s + self.sequence_s * sequences
        most = self.max_cudagraph_capture_size
        return host_s if most is None or tokens <= most else host_s + self.eager_step_s
