"""Step times from a data sheet and an architecture: computing or moving bytes, whichever takes longer.

Williams, Waterman, Patterson, "Roofline", CACM 2009. The efficiencies are fractions of the peak rates:
rounded figures for large operators, the same for every GPU and fitted to none. Against the reference
steps (`step_errors`) the median error is 3 to 15 % and the 90th percentile 8 to 24 %, by GPU and model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmsim.latency.contract import UNBOUNDED, Chunk, LatencyModel, Line
from llmsim.latency.hardware import Gpu, Model, check_tensor_parallel, kv_heads_per_gpu

ACTIVATION_BYTES = 2


@dataclass(frozen=True, slots=True)
class Efficiencies:
    """Fractions of the peak that operators reach, and what a call costs at least."""

    matmul_flop: float = 0.7
    attention_flop: float = 0.5
    memory: float = 0.8
    interconnect: float = 0.5
    launch_s: float = 3e-6  #: each operator
    all_reduce_s: float = 6e-6  #: each all-reduce, before the first byte


class Roofline(LatencyModel):
    """Any dense GQA model on any GPU. Tensor parallelism splits heads and MLP: two all-reduces a layer."""

    def __init__(
        self,
        gpu: Gpu,
        model: Model,
        tensor_parallel_size: int = 1,
        efficiencies: Efficiencies | None = None,
    ) -> None:
        check_tensor_parallel(model, tensor_parallel_size)
        self.gpu, self.model, self.gpus = gpu, model, tensor_parallel_size
        self.efficiencies = e = efficiencies or Efficiencies()
        self._flop_per_s = gpu.bf16_flop_per_s * e.matmul_flop
        self._bytes_per_s = gpu.memory_bandwidth_bytes_per_s * e.memory
        layers, query = model.num_hidden_layers, model.query_size / self.gpus
        kv_bytes = 2 * kv_heads_per_gpu(model, self.gpus) * model.head_dim * model.kv_bytes_per_value
        # seconds for each pair of a query token and a token it attends to, and for each token read
        self._pair_s = layers * 4 * query / (gpu.bf16_flop_per_s * e.attention_flop)
        self._read_s = layers * kv_bytes / self._bytes_per_s
        self._decode_s = max(self._pair_s, self._read_s)
        self._rest: dict[int, float] = {}  # by tokens in the step
        self._heads: dict[int, float] = {}  # by sequences

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: int) -> float:
        """Seconds of one step, as the contract says."""
        tokens = decoding
        attention_s = self._decode_s * context_tokens
        for computed, chunk in prefill:
            tokens += chunk
            pairs = chunk * computed + chunk * (chunk + 1) // 2
            attention_s += max(self._pair_s * pairs, self._read_s * (computed + chunk))
        return self._rest_s(tokens, decoding + len(prefill)) + attention_s

    def decode_line(self, decoding: int, context_tokens: int) -> Line:
        """Seconds of decode steps in a row, as the contract says."""
        first_s = self._rest_s(decoding, decoding) + self._decode_s * context_tokens
        return first_s, self._decode_s * decoding, UNBOUNDED

    def _rest_s(self, tokens: int, sequences: int) -> float:
        """Seconds of everything but attention over the context."""
        layers_s = self._rest.get(tokens)
        if layers_s is None:
            layers_s = self._rest[tokens] = self._layers_s(tokens)
        head_s = self._heads.get(sequences)
        if head_s is None:
            m = self.model
            head_s = self._heads[sequences] = self._matmul_s(sequences, m.vocab_size / self.gpus, m.hidden_size)
        return layers_s + head_s

    def _layers_s(self, tokens: int) -> float:
        m, e = self.model, self.efficiencies
        h, inner, query = m.hidden_size, m.intermediate_size / self.gpus, m.query_size / self.gpus
        layer_s = (
            self._matmul_s(tokens, query + 2 * kv_heads_per_gpu(m, self.gpus) * m.head_dim, h)
            + self._matmul_s(tokens, h, query)
            + self._matmul_s(tokens, m.mlp_projections_up * inner, h)
            + self._matmul_s(tokens, h, inner)
        )
        moved = 2 * 4 * h + (m.mlp_projections_up + 1) * inner  # two norms with residuals, one activation
        layer_s += ACTIVATION_BYTES * tokens * moved / self._bytes_per_s + 4 * e.launch_s  # attention's launch too
        if self.gpus > 1:
            sent = 2 * (self.gpus - 1) / self.gpus * ACTIVATION_BYTES * tokens * h
            layer_s += 2 * (e.all_reduce_s + sent / (self.gpu.interconnect_bytes_per_s * e.interconnect))
        return m.num_hidden_layers * layer_s

    def _matmul_s(self, m: float, n: float, k: float) -> float:
        compute_s = 2 * m * n * k / self._flop_per_s
        weight_bytes = self.model.weight_bytes_per_parameter * n * k
        move_s = (weight_bytes + ACTIVATION_BYTES * m * (n + k)) / self._bytes_per_s
        return max(compute_s, move_s) + self.efficiencies.launch_s
