"""Step times from a data sheet and an architecture: computing or moving bytes, whichever takes longer.

Williams, Waterman, Patterson, "Roofline", CACM 2009. The efficiencies are fractions of the peak rates:
rounded figures for large operators, the same for every GPU and fitted to none. Against the reference
steps (`step_errors`) the median error is 3 to 16 % and the 90th percentile 9 to 24 %, by GPU and model.

Experts: those that n tokens wake (`Experts.awake`, uniform routing) are read, and k times n tokens are computed.
Layers with a window read and compute no more than that. Latent attention reads one compressed vector a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmsim.errors import InputError
from llmsim.latency.contract import UNBOUNDED, Chunk, LatencyModel, Line
from llmsim.latency.gpu import Gpu
from llmsim.latency.kv_memory import check_tensor_parallel, kv_bytes_per_gpu
from llmsim.latency.layers import attention_products, layers_with_window, mlp_products
from llmsim.latency.model import Experts, Model, Part

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


def efficiencies_of(gpu: Gpu) -> Efficiencies:
    """The rounded figures, with what was measured of this GPU."""
    return Efficiencies() if gpu.matmul_efficiency is None else Efficiencies(matmul_flop=gpu.matmul_efficiency)


@dataclass(frozen=True, slots=True)
class ModelShare:
    """What a step computes of a model, shares below 1 for a drafter."""

    query_tokens: float = 1  #: of a decoding sequence
    layers_share: float = 1.0
    head_share: float = 1.0  #: of the projection onto the vocabulary


WHOLE = ModelShare()


class Roofline(LatencyModel):
    """Any model on any GPU. Tensor parallelism splits heads, MLP and each expert: two all-reduces a layer.

    Of a model over ranks of attention data parallelism these are the steps of one rank, without the routed experts:
    what all ranks share takes `shared_s` on top (`data_parallel`).
    """

    def __init__(
        self,
        gpu: Gpu,
        model: Model,
        tensor_parallel_size: int = 1,
        efficiencies: Efficiencies | None = None,
        computed: ModelShare = WHOLE,
    ) -> None:
        check_tensor_parallel(model, tensor_parallel_size)
        if model.experts is not None and model.experts.routing != "uniform":
            raise InputError(f"roofline knows uniform routing alone; {model.experts.routing} needs measured experts")
        self._computed = computed
        self.gpu, self.model, self.gpus = gpu, model, tensor_parallel_size
        self.efficiencies = e = efficiencies or efficiencies_of(gpu)
        self._bytes_per_s = gpu.memory_bandwidth_bytes_per_s * e.memory
        full, inside, self._window = layers_with_window(model)
        self._full, self._inside = full * computed.layers_share, inside * computed.layers_share
        # of one layer: seconds for each pair of a query token and a token it attends to, and for each token read
        attention_flop_per_s = gpu.bf16_flop_per_s * e.attention_flop
        self._pair_s = _pair_flop(model) / self.gpus / attention_flop_per_s
        self._read_s = kv_bytes_per_gpu(model, self.gpus) / model.num_hidden_layers / self._bytes_per_s
        decode_pair_s = _decode_pair_flop(model) / self.gpus / attention_flop_per_s
        self._decode_s = max(decode_pair_s * computed.query_tokens, self._read_s)
        self._rest: dict[float, float] = {}  # by tokens in the step
        self._heads: dict[float, float] = {}  # by sequences

    @property
    def basis(self) -> str:
        """Which data sheet and sizes."""
        size = f" TP{self.gpus}" if self.gpus > 1 else ""
        return f"roofline: data sheet of {self.gpu.name}{size} and sizes of {self.model.name}, nothing measured"

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: float) -> float:
        """Seconds of one step, as the contract says."""
        queries = tokens = decoding * self._computed.query_tokens
        attention_s = self._decode_attention_s(decoding, context_tokens)
        for computed, chunk in prefill:
            tokens += chunk
            attention_s += self._full * self._chunk_s(computed, chunk, computed + chunk)
            if self._inside:
                attention_s += self._inside * self._chunk_s(computed, chunk, self._window)
        return self._rest_s(tokens, queries + len(prefill)) + attention_s

    def decode_line(self, decoding: int, context_tokens: float) -> Line:
        """Seconds of decode steps in a row, as the contract says."""
        queries = decoding * self._computed.query_tokens
        first_s = self._rest_s(queries, queries) + self._decode_attention_s(decoding, context_tokens)
        growing_s = self._full * self._decode_s * decoding
        within = decoding * self._window - context_tokens
        if not self._inside or within < 0:
            return first_s, growing_s, UNBOUNDED
        return first_s, growing_s + self._inside * self._decode_s * decoding, int(within // decoding) + 1

    def speculating(self, query_tokens: float) -> Roofline:
        """As the contract says; attention reads keys and values once for all tokens of a sequence."""
        return self._computing(replace(self._computed, query_tokens=query_tokens))

    def with_layers(self, share: float, head: float = 1.0) -> Roofline:
        """As the contract says."""
        return self._computing(replace(self._computed, layers_share=share, head_share=head))

    def _computing(self, computed: ModelShare) -> Roofline:
        return Roofline(self.gpu, self.model, self.gpus, self.efficiencies, computed)

    def _decode_attention_s(self, decoding: int, context_tokens: float) -> float:
        """Seconds for all layers; those with a window as if every context were the mean one."""
        attention_s = self._full * self._decode_s * context_tokens
        if self._inside:
            attention_s += self._inside * self._decode_s * min(context_tokens, decoding * self._window)
        return attention_s

    def _chunk_s(self, computed: int, chunk: int, window: int) -> float:
        """Seconds of one layer for the tokens of a prompt, each attending to the last `window` at most."""
        end = computed + chunk
        growing = min(end, max(window, computed)) - computed  # tokens that attend to all before them
        pairs = growing * computed + growing * (growing + 1) // 2 + (chunk - growing) * window
        return max(self._pair_s * pairs, self._read_s * min(end, chunk + window))

    def _rest_s(self, tokens: float, sequences: float) -> float:
        """Seconds of everything but attention over the context."""
        layers_s = self._rest.get(tokens)
        if layers_s is None:
            layers_s = self._rest[tokens] = self._layers_s(tokens) * self._computed.layers_share
        head_s = self._heads.get(sequences)
        if head_s is None:
            m = self.model
            head_s = self._heads[sequences] = self._matmul_s(
                sequences, self._computed.head_share * m.vocab_size / self.gpus, m.hidden_size
            )
        return layers_s + head_s

    def _layers_s(self, tokens: float) -> float:
        m, e, gpus = self.model, self.efficiencies, self.gpus
        layer_s = sum(self._matmul_s(tokens, n, k, "attention") for n, k in attention_products(m, gpus))
        moved = 2 * 4 * m.hidden_size  # two norms with residuals
        layer_s += self._moved_s(tokens, moved) + 3 * e.launch_s  # attention's launch too
        if gpus > 1:
            layer_s += 2 * self._all_reduce_s(tokens, gpus)
        layers_s = m.num_hidden_layers * layer_s + m.dense_layers * self._mlp_s(tokens, m.intermediate_size)
        if gpus > 1 and m.ranks > 1:
            layers_s -= m.moe_layers * self._all_reduce_s(tokens, gpus)  # `shared_s` has what takes its place
        return layers_s if m.experts is None else layers_s + m.moe_layers * self._experts_s(tokens, m.experts)

    def shared_s(self, tokens: float) -> float:
        """Seconds of what ranks share in a step of so many tokens on all of them: routed experts, and the way there.

        As vLLM does it: each GPU gathers all tokens and computes its experts, and the sums are scattered, which is the
        two halves of an all-reduce.
        """
        m, gpus = self.model, self.gpus * self.model.ranks
        assert m.experts is not None
        layer_s = self._routed_s(tokens, m.experts, gpus) + self._all_reduce_s(tokens, gpus)
        return m.moe_layers * layer_s * self._computed.layers_share

    def _all_reduce_s(self, tokens: float, gpus: int) -> float:
        """Seconds to add up rows of the hidden size over GPUs: to scatter sums, and to gather all on each GPU."""
        sent = 2 * (gpus - 1) / gpus * ACTIVATION_BYTES * tokens * self.model.hidden_size
        per_s = self.gpu.interconnect_bytes_per_s * self.efficiencies.interconnect
        return self.efficiencies.all_reduce_s + sent / per_s

    def _mlp_s(self, tokens: float, width: int) -> float:
        m = self.model
        products_s = sum(self._matmul_s(tokens, n, k, "mlp") for n, k in mlp_products(m, self.gpus, width))
        moved = (m.mlp_projections_up + 1) * width / self.gpus  # one activation
        return products_s + self._moved_s(tokens, moved) + self.efficiencies.launch_s

    def _experts_s(self, tokens: float, experts: Experts) -> float:
        """Seconds of one layer's router, routed experts unless ranks share them, and shared experts."""
        routed_s = self._routed_s(tokens, experts, self.gpus) if self.model.ranks == 1 else 0.0
        shared_s = self._mlp_s(tokens, experts.shared_intermediate_size) if experts.shared_intermediate_size else 0.0
        return self._matmul_s(tokens, experts.num_experts, self.model.hidden_size) + routed_s + shared_s

    def _routed_s(self, tokens: float, experts: Experts, gpus: int) -> float:
        """Seconds of one layer's routed experts over so many GPUs, up and down, two calls."""
        m, width = self.model, experts.moe_intermediate_size / gpus
        weights = (m.mlp_projections_up + 1) * m.hidden_size * width
        passes = tokens * experts.num_experts_per_tok
        compute_s = 2 * passes * weights / self._flop_per_s("experts")
        read = experts.awake(tokens) * weights * m.weight_bytes_of("experts")
        move_s = read / self._bytes_per_s + self._moved_s(passes, 2 * (m.hidden_size + width))
        return max(compute_s, move_s) + 2 * self.efficiencies.launch_s

    def _moved_s(self, tokens: float, elements: float) -> float:
        """Seconds to move so many elements for each token."""
        return ACTIVATION_BYTES * tokens * elements / self._bytes_per_s

    def _matmul_s(self, m: float, n: float, k: float, part: Part | None = None) -> float:
        """Seconds of an m x k by k x n product with weights of this part; None: in bf16."""
        weight_bytes = ACTIVATION_BYTES if part is None else self.model.weight_bytes_of(part)
        compute_s = 2 * m * n * k / self._flop_per_s(part)
        move_s = (weight_bytes * n * k + ACTIVATION_BYTES * m * (n + k)) / self._bytes_per_s
        return max(compute_s, move_s) + self.efficiencies.launch_s

    def _flop_per_s(self, part: Part | None) -> float:
        """What matrix products reach: fp8 weights are multiplied in fp8 where the GPU can, all others in bf16."""
        in_fp8 = part is not None and self.model.dtype_of(part).startswith("fp8")
        peak = self.gpu.fp8_flop_per_s if in_fp8 else None
        return (peak or self.gpu.bf16_flop_per_s) * self.efficiencies.matmul_flop


def _pair_flop(model: Model) -> float:
    """FLOP of one layer, all heads, for a token of a prompt and one that it attends to."""
    latent = model.latent_attention
    if latent is None:
        return 4 * model.query_size
    return 2 * (model.query_size + model.output_size)


def _decode_pair_flop(model: Model) -> float:
    """The same for a decoding sequence: latent attention works on compressed vectors there."""
    latent = model.latent_attention
    if latent is None:
        return 4 * model.query_size
    return 2 * model.num_attention_heads * (latent.cached_values + latent.kv_lora_rank)
