"""Step times of a model on a GPU, composed from measured operators.

linear(m) = layers × [projections around attention + 2 × add-norm + 2 × all-reduce if TP > 1]
            + dense layers × [MLP + activation] + layers with experts × [router + experts + shared experts]
            + embedding + final norm
head(s)   = lm_head on s sequences; attention = layers × one layer's.
Matrix products have m = tokens in the step. Element-wise work: bytes / (0.8 × memory bandwidth) + 3 us.

Of ranks of attention data parallelism, linear is that of one rank, without the routed experts, and what they share is
shared(m) = layers with experts × [routed experts + gathering tokens on all GPUs + scattering sums], m those of all.

Experts were measured with tokens dealt out evenly, which wakes more of them than a router does. Their curve is read at
the tokens that wake, dealt out evenly, as many as n tokens do with uniform routing: A(n) / k (`Experts.awake`), and
at n itself once nearly all are awake. Latent attention: projections down and up here, the rest with attention.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from llmsim.errors import InputError
from llmsim.latency.attention_times import decode_times, heads_of, prefill_times
from llmsim.latency.gpu import Gpu
from llmsim.latency.kv_memory import check_tensor_parallel
from llmsim.latency.layers import attention_products, mlp_products
from llmsim.latency.mixed_attention import mixed_decode_times
from llmsim.latency.model import Experts, Model, Part
from llmsim.latency.operators import Curve, ExpertSizes, Floats, Kernels, Operators
from llmsim.latency.profile import HeadTimes, LinearTimes, StepProfile, StepProvenance
from llmsim.latency.smoothing import isotonic, smooth, without_spikes

ELEMENTWISE_BANDWIDTH = 0.8  #: of the peak
ELEMENTWISE_LAUNCH_S = 3e-6
HEAD_SEQUENCES = 1024  #: the head's largest batch that is kept
LARGEST_STEP_TOKENS = 32768
NEARLY_ALL = 0.995  #: of the experts are awake: the curve is read at the tokens themselves
PLATEAU = (0.9, 4.0)  #: of the time to read all experts at the peak bandwidth, in which a curve's plateau may lie
#: engine that computes a shared expert together with the routed ones
SHARED_EXPERT_IS_FUSED = "sglang"
#: vLLM leaves its own all-reduce to NCCL for more GPUs than this without NVLink; what NCCL gets of the link is assumed
PCIE_GPUS, PCIE_BYTES_PER_S, PCIE_EFFICIENCY = 2, 150e9, 0.5

#: The prefill tables of the H200 of vLLM 0.19.0 show the same times with and without a sliding window of 128, three
#: times faster than the peak FLOP/s allow at 8192 tokens. The H100's tensor cores are the same.
PREFILL_TABLES_FROM = {("h200_sxm", Kernels("vllm", "0.19.0")): "h100_sxm"}


@dataclass(frozen=True)
class Choices:
    """What a composition takes from where."""

    kernels: Kernels | None = None  #: engine and version; None: the only one that was measured
    gemm_kernels: Kernels | None = None  #: of matrix products, where they are to come from another
    expert_parallel: bool = False  #: experts dealt out to the GPUs whole, in place of a share of each
    routing: str = "uniform"  #: or one of the tables' distributions, see `model.Routing`
    #: as vLLM 0.12 takes weights in blocks of fp8: matrix products launched one by one, all experts read in every step
    launched: bool = False


@dataclass
class _Composition:
    operators: Operators
    gpu: Gpu
    model: Model
    gpus: int
    choices: Choices
    notes: list[str] = field(default_factory=list)

    @property
    def all_gpus(self) -> int:
        """Those of all ranks, which share the routed experts."""
        return self.gpus * self.model.ranks

    def product_s(self, n: float, k: float, tokens: Floats, part: Part | None = None) -> Floats:
        """Seconds of a matrix product for each number of tokens."""
        dtype = "bfloat16" if part is None else self.model.dtype_of(part)
        return np.asarray(np.interp(tokens, *self.operators.gemm_s(n, k, dtype)))

    def elementwise_s(self, tokens: Floats, elements: float, calls: float) -> Floats:
        """Seconds to move so many elements of 2 bytes for each token."""
        bytes_per_s = ELEMENTWISE_BANDWIDTH * self.gpu.memory_bandwidth_bytes_per_s
        return np.asarray(tokens * 2 * elements / bytes_per_s + calls * ELEMENTWISE_LAUNCH_S)


def compose(
    ops_dir: Path | str, gpu: Gpu, model: Model, tensor_parallel_size: int = 1, choices: Choices | None = None
) -> StepProfile:
    """Compose the step times of `model` on `gpu` from the operator tables in `ops_dir`.

    Raises InputError where operators of this GPU, these heads, experts, types or this many GPUs were not measured.
    """
    check_tensor_parallel(model, tensor_parallel_size)
    if gpu.operator_tables is None:
        raise InputError(f"{gpu.name}: operator_tables is missing, the folder of its measured operators")
    chosen = choices or Choices()
    operators = Operators(ops_dir, gpu.operator_tables, chosen.kernels, chosen.gemm_kernels, launched=chosen.launched)
    one = _Composition(operators, gpu, model, tensor_parallel_size, chosen)
    prefill_from = PREFILL_TABLES_FROM.get((gpu.operator_tables, operators.kernels))
    prefill = operators
    if prefill_from is not None:
        prefill = Operators(ops_dir, prefill_from, operators.kernels)
        one.notes.append(f"prefill attention from {prefill_from}: that of {gpu.operator_tables} beats the GPU's peak")
    prompts, odd_prompts = prefill_times(prefill, gpu, model, tensor_parallel_size)
    decode, odd_decodes = decode_times(operators, model, tensor_parallel_size)
    one.notes += [*odd_prompts, *odd_decodes]
    mixed = mixed_decode_times(operators, gpu, model, tensor_parallel_size)
    if mixed is not None:
        one.notes.append("decodes beside a prompt: tiles of FlashAttention 2, as long as they take in prompts")
    linear, head = _linear(one), _head(one)
    shared = _shared(one) if model.ranks > 1 else None
    return StepProfile(
        gpu=gpu.name,
        model=model.name,
        architecture=model.with_routing(chosen.routing).architecture,
        tensor_parallel_size=tensor_parallel_size,
        expert_parallel_size=one.all_gpus if chosen.expert_parallel else 1,
        provenance=_provenance(one),
        linear=linear,
        head=head,
        prefill_attention=prompts,
        decode_attention=decode,
        mixed_decode=mixed,
        shared_experts=shared,
    )


def _linear(one: _Composition) -> LinearTimes:
    """Projections, MLPs, experts, element-wise work and all-reduces of all layers; embedding and final norm."""
    model, gpus = one.model, one.gpus
    tokens, h, layers = _step_sizes(one), model.hidden_size, model.num_hidden_layers
    layer_s = sum(one.product_s(n, k, tokens, "attention") for n, k in attention_products(model, gpus)[: _kept(model)])
    if gpus > 1:
        reduce_s = np.interp(tokens, *_all_reduce(one))
        layer_s = layer_s + 2 * reduce_s
    # a norm with residual reads and writes two rows, the last norm and the embedding one
    layer_s = layer_s + one.elementwise_s(tokens, 2 * 4 * h, 2)
    time_s = layers * layer_s + one.elementwise_s(tokens, 4 * h, 2)
    if model.dense_layers:
        time_s = time_s + model.dense_layers * _mlp(one, tokens, model.intermediate_size)
    if model.experts is not None:
        time_s = time_s + model.moe_layers * _experts(one, tokens, model.experts)
    if model.ranks > 1 and gpus > 1:
        time_s = time_s - model.moe_layers * reduce_s  # `_shared` has what takes its place
    x, y = smooth(tokens, np.asarray(time_s))
    return LinearTimes(tokens=x, time_s=y)


def _shared(one: _Composition) -> LinearTimes:
    """What ranks share, against the tokens of all of them: routed experts, and the way there and back."""
    model, experts = one.model, one.model.experts
    assert experts is not None
    elements, gather_s = one.operators.gathered_and_scattered_s(one.all_gpus)
    tokens = np.union1d(_step_sizes(one), np.ceil(elements[elements >= model.hidden_size] / model.hidden_size))
    way_s = np.interp(tokens * model.hidden_size, elements, isotonic(gather_s))
    x, y = smooth(tokens, model.moe_layers * (_routed(one, tokens, experts, fused=False) + way_s))
    one.notes.append(
        f"{model.ranks} ranks of attention in lockstep, evenly loaded; tokens gathered on all GPUs and sums scattered "
        "by NCCL, as vLLM's allgather_reducescatter: less certain, ranks are not even"
    )
    return LinearTimes(tokens=x, time_s=y)


def _kept(model: Model) -> int:
    """Products that every token passes: latent attention's way up to all heads goes with attention."""
    return -2 if model.latent_attention is not None else len(attention_products(model, 1))


def _step_sizes(one: _Composition) -> Floats:
    """Numbers of tokens at which a step is composed: those of matrix products, experts and all-reduces."""
    model = one.model
    tokens = one.operators.gemm_s(model.hidden_size, model.output_size / one.gpus, model.dtype_of("attention"))[0]
    if one.gpus > 1:
        reduced = one.operators.all_reduce_s(one.gpus)[0] / model.hidden_size
        tokens = np.union1d(tokens, np.ceil(reduced[(reduced >= 1) & (reduced <= tokens[-1])]))
    if model.experts is not None:
        tokens = np.union1d(tokens, 2.0 ** np.arange(LARGEST_STEP_TOKENS.bit_length()))
    return tokens[tokens <= LARGEST_STEP_TOKENS]


def _all_reduce(one: _Composition) -> Curve:
    """(tokens, seconds) of one all-reduce of the hidden size."""
    elements, seconds = one.operators.all_reduce_s(one.gpus)
    link = one.gpu.interconnect_bytes_per_s
    if one.gpus > PCIE_GPUS and link < PCIE_BYTES_PER_S:
        sent = 2 * (one.gpus - 1) / one.gpus * 2 * elements
        seconds = np.minimum(seconds, seconds[0] + sent / (PCIE_EFFICIENCY * link))
        one.notes.append(
            "all-reduces over PCIe: at most 2 (GPUs - 1) / GPUs x bytes over half of the link, as NCCL is left with; "
            "vLLM's own, as measured, does not run without NVLink between more than two"
        )
    return elements / one.model.hidden_size, seconds


def _mlp(one: _Composition, tokens: Floats, width: int) -> Floats:
    """Seconds of one layer's dense MLP, or of its shared experts."""
    products = mlp_products(one.model, one.gpus, width)
    moved = (one.model.mlp_projections_up + 1) * width / one.gpus
    return np.asarray(
        sum(one.product_s(n, k, tokens, "mlp") for n, k in products) + one.elementwise_s(tokens, moved, 1)
    )


def _experts(one: _Composition, tokens: Floats, experts: Experts) -> Floats:
    """Seconds of one layer's router, routed experts unless ranks share them, and shared experts."""
    model = one.model
    fused = one.operators.kernels.backend == SHARED_EXPERT_IS_FUSED and _is_one_more(experts) and model.ranks == 1
    time_s = one.product_s(experts.num_experts, model.hidden_size, tokens)
    if model.ranks == 1:
        time_s = time_s + _routed(one, tokens, experts, fused=fused)
    if experts.shared_intermediate_size and not fused:
        time_s = time_s + _mlp(one, tokens, experts.shared_intermediate_size)
    if fused:
        one.notes.append("the shared expert as one more that every token is sent to, as SGLang has it")
    if one.choices.expert_parallel and one.all_gpus > 1:
        one.notes.append(
            f"experts dealt out to {one.all_gpus} GPUs, evenly loaded: less certain, measured steps are slower"
        )
    return np.asarray(time_s)


def _is_one_more(experts: Experts) -> bool:
    """Whether the shared experts are one of the size of the routed ones."""
    return experts.shared_intermediate_size == experts.moe_intermediate_size


def _routed(one: _Composition, tokens: Floats, experts: Experts, *, fused: bool) -> Floats:
    """Seconds of one layer's routed experts; `fused`: with one more, which is always awake."""
    uniform = one.choices.routing == "uniform"
    split = (1, one.all_gpus) if one.choices.expert_parallel else (one.all_gpus, 1)
    sizes = ExpertSizes(
        one.model.hidden_size,
        experts.moe_intermediate_size,
        experts.num_experts_per_tok,
        experts.num_experts,
        *split,
        dtype=one.model.dtype_of("experts"),
        routing="balanced" if uniform else one.choices.routing,
    )
    measured, time_s = one.operators.moe_s(sizes)
    if uniform:
        _check_plateau(one, experts, sizes, measured, time_s)
    time_s, outliers = without_spikes(time_s)
    one.notes += [
        f"experts at {measured[place]:g} tokens left out: {factor:.1f} x what its neighbours say"
        for place, factor in outliers
    ]
    time_s = isotonic(time_s)
    read_at = evenly_dealt(experts, tokens, always=int(fused)) if uniform else tokens
    if one.choices.launched:
        read_at = np.maximum(read_at, experts.num_experts / experts.num_experts_per_tok)
    beyond = np.maximum(1.0, read_at / measured[-1])  # past the largest measured step, in proportion
    return np.asarray(np.interp(read_at, measured, time_s) * beyond)


def evenly_dealt(experts: Experts, tokens: Floats, always: int = 0) -> Floats:
    """Tokens that wake, dealt out evenly, as many experts as these do with uniform routing; `always`: and so many more.

    Once nearly all are awake: the tokens themselves, and as many more as go to the experts that are always awake.
    """
    awake, k = np.array([experts.awake(float(n)) for n in tokens]), experts.num_experts_per_tok
    even = (awake + always) / k
    return np.where(awake < NEARLY_ALL * experts.num_experts, even, np.maximum(tokens * (1 + always / k), even))


def _check_plateau(one: _Composition, experts: Experts, sizes: ExpertSizes, measured: Floats, time_s: Floats) -> None:
    """InputError unless reading all experts takes about what the memory's bandwidth says."""
    weights = 3 * sizes.hidden_size * sizes.moe_intermediate_size * experts.num_experts / one.all_gpus
    peak_s = weights * one.model.weight_bytes_of("experts") / one.gpu.memory_bandwidth_bytes_per_s
    all_awake = experts.num_experts / experts.num_experts_per_tok  # evenly dealt
    plateau = float(np.interp(all_awake, measured, time_s)) / peak_s
    if not PLATEAU[0] <= plateau <= PLATEAU[1]:
        raise InputError(
            f"{one.operators.root}: experts of {one.model.name} take {100 * plateau:.0f} % of the time to read all of "
            f"them at the peak bandwidth; expected {100 * PLATEAU[0]:.0f} to {100 * PLATEAU[1]:.0f} % "
            f"({one.operators.kernels})"
        )


def _head(one: _Composition) -> HeadTimes:
    sequences, time_s = one.operators.gemm_s(one.model.vocab_size / one.gpus, one.model.hidden_size)
    kept = sequences <= HEAD_SEQUENCES
    x, y = smooth(sequences[kept], time_s[kept])
    return HeadTimes(sequences=x, time_s=y)


def _provenance(one: _Composition) -> StepProvenance:
    notes = [
        "element-wise work: bytes / (0.8 x memory bandwidth) + 3 us a call",
        "noise that makes more work faster is averaged out (isotonic regression)",
        "decode attention beyond the largest measured context: by what a KV token takes where most were measured",
        *one.notes,
    ]
    operators, model = one.operators, one.model
    if model.latent_attention is None:
        heads = heads_of(model, one.gpus)
        most = operators.most_decode_kv_heads(heads)
        if heads.kv > most:
            notes.append(f"decode attention of {heads.kv} KV heads: of {most} and {heads.kv / most:g} x the sequences")
    if model.experts is not None:
        notes.append(f"{one.choices.routing} routing")
    if operators.gemm_kernels != operators.kernels:
        notes.append(f"matrix products of {operators.gemm_kernels}")
    dtypes = {model.dtype_of("attention"), model.dtype_of("mlp" if model.dense_layers else "experts")} - {"bfloat16"}
    kinds = "bf16" + "".join(f", weights {dtype}" for dtype in sorted(dtypes))
    kinds += ", KV cache fp8" if model.kv_cache_dtype == "fp8" else ""
    return StepProvenance(
        source="operator latencies of github.com/ai-dynamo/aiconfigurator, composed by llmsim",
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        operators=f"{operators.root.name}/*/{operators.kernels}/*_perf.parquet, {kinds}, medians",
        engine=f"{operators.kernels.backend.replace('vllm', 'vLLM').replace('sglang', 'SGLang')} "
        f"{operators.kernels.version} kernels; GPU time only",
        license="Apache-2.0 (aiconfigurator)",
        notes=tuple(notes),
    )
