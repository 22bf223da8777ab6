"""Time that a step takes outside the GPU: scheduling, preparing inputs, sampling, detokenising, in Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmsim.errors import InputError
from llmsim.latency.contract import Chunk, LatencyModel, Line, Measured


@dataclass(frozen=True)
class Host(LatencyModel):
    """GPU time plus `step_s` a step and `sequence_s` for each sequence in it, prefilling or decoding.

    A step of more tokens than the largest CUDA graph takes `eager_step_s` more: the host launches its kernels one by
    one (vLLM's `max_cudagraph_capture_size`). So it is where the host waits for the GPU and the GPU for the host. With
    `overlapped` both work at the same time, the host on the next step: a step takes as long as the slower of them.
    What nothing can overlap, `serial_step_s` and for each sequence `serial_sequence_s` (sampling, copying tokens,
    launching the next step), comes on top in either case.
    """

    gpu: LatencyModel
    step_s: float = 0.0
    sequence_s: float = 0.0
    eager_step_s: float = 0.0
    max_cudagraph_capture_size: int | None = None  #: tokens; None: every step is in a graph
    serial_step_s: float = 0.0
    serial_sequence_s: float = 0.0
    overlapped: bool = False  #: asynchronous scheduling
    query_tokens: float = 1  #: that each decoding sequence computes in a step, on average
    ranks: int = 1  #: of attention data parallelism: each has a process for its share of the sequences and tokens

    def __post_init__(self) -> None:
        for name in ("step_s", "sequence_s", "eager_step_s", "serial_step_s", "serial_sequence_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"host {name} = {value}, expected seconds, not negative")

    @property
    def basis(self) -> str:
        """What the GPU's times rest on."""
        return self.gpu.basis

    @property
    def measured(self) -> Measured | None:
        """Those of the times that this rests on."""
        return self.gpu.measured

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: float) -> float:
        """Seconds of one step, as the contract says."""
        tokens = decoding * self.query_tokens + sum(tokens for _, tokens in prefill)
        sequences = decoding + len(prefill)
        host_s, serial_s = self.host_s(sequences, tokens), self.serial_s(sequences)
        gpu_s = self.gpu.step_time_s(prefill, decoding, context_tokens)
        return (max(gpu_s, host_s) if self.overlapped else gpu_s + host_s) + serial_s

    def decode_line(self, decoding: int, context_tokens: float) -> Line:
        """Seconds of decode steps in a row, as the contract says."""
        line = self.gpu.decode_line(decoding, context_tokens)
        host_s = self.host_s(decoding, decoding * self.query_tokens)
        first_s, growth_s, steps = slower(line, host_s) if self.overlapped else (line[0] + host_s, *line[1:])
        return first_s + self.serial_s(decoding), growth_s, steps

    def serial_s(self, sequences: int) -> float:
        """Seconds of a step in which neither works for another one."""
        return self.serial_step_s + self.serial_sequence_s * self._of_a_rank(sequences)

    def host_s(self, sequences: int, tokens: float) -> float:
        """Seconds of the host in a step of so many tokens."""
        host_s = self.step_s + self.sequence_s * self._of_a_rank(sequences)
        most = self.max_cudagraph_capture_size
        return host_s if most is None or tokens <= most * self.ranks else host_s + self.eager_step_s

    def _of_a_rank(self, sequences: int) -> int:
        return sequences if self.ranks == 1 else -(-sequences // self.ranks)


def slower(line: Line, host_s: float) -> Line:
    """The slower of a GPU on a line and a host that takes as long for each step: as far as it stays the slower one."""
    gpu_s, growth_s, steps = line
    behind_s = gpu_s - host_s  # above 0: the GPU is the slower one at first
    if growth_s != 0 and (behind_s >= 0) == (growth_s < 0) and abs(behind_s / growth_s) < steps:
        steps = int(abs(behind_s / growth_s)) + 1
    return (gpu_s, growth_s, steps) if behind_s >= 0 else (host_s, 0.0, steps)
