"""What a model is, in numbers: the sizes that decide its memory and the time of its steps."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from llmsim.errors import InputError, nearest
from llmsim.latency.profile_files import Amount, Count, CountOrNone, Profile, Provenance

KvCacheDtype = Literal["bfloat16", "fp8"]
QuantizedDtype = Literal["fp8", "fp8_block", "mxfp4", "int4"]
Part = Literal["attention", "mlp", "experts"]
#: of tokens to experts: each expert equally likely, or skewed as the operators were measured
Routing = Literal["uniform", "power_law_1.01", "power_law_1.2"]
KV_BYTES: dict[KvCacheDtype, int] = {"bfloat16": 2, "fp8": 1}
BF16_BYTES = 2
#: of one weight in each type, its share of the scales included: int4 with a scale for 128, mxfp4 for 32
BITS: dict[str, float] = {"fp8": 8, "fp8_block": 8, "mxfp4": 4.25, "int4": 4.125}


class Experts(Profile):
    """A mixture of experts in place of the MLP. Names of keys are those of Hugging Face where there are any."""

    num_experts: Count
    num_experts_per_tok: Count
    moe_intermediate_size: Count  #: of one routed expert
    shared_intermediate_size: CountOrNone = 0  #: of the experts that every token passes, together
    num_dense_layers: CountOrNone = 0  #: layers with an MLP of intermediate_size in place of experts
    routing: Routing = "uniform"
    #: to the GPUs, whole (expert parallelism), or a share of each to every GPU; left out: as the step times have it
    dealt_out: bool | None = None
    #: ranks that have attention, requests, keys and values of their own and share the routed experts, in lockstep
    data_parallel_size: Count = 1

    def awake(self, tokens: float) -> float:
        """Experts of a layer that at least one of so many tokens is sent to, expected, if routing is uniform."""
        asleep = (1 - self.num_experts_per_tok / self.num_experts) ** tokens
        return float(self.num_experts * (1 - asleep))


class LatentAttention(Profile):
    """DeepSeek's multi-head latent attention: one compressed vector a token and layer, for all heads."""

    kv_lora_rank: Count
    q_lora_rank: CountOrNone = 0  #: 0: queries are not compressed
    qk_nope_head_dim: Count
    qk_rope_head_dim: Count
    v_head_dim: Count

    @property
    def cached_values(self) -> int:
        """Elements that a token keeps in each layer."""
        return self.kv_lora_rank + self.qk_rope_head_dim


class SlidingWindow(Profile):
    """Layers that attend to the last tokens only."""

    tokens: Count
    layers: Count  #: how many of the model's layers


class Quantization(Profile):
    """Weights of the layers' matrices in fewer bits than 16. Embeddings, head, norms and router stay in bf16."""

    dtype: QuantizedDtype
    bits: Amount  #: of one weight, its share of the scales included
    parts: tuple[Part, ...] = ("attention", "mlp", "experts")  #: what is quantized; shared experts count as mlp


class Architecture(Profile):
    """What decides the time of a model's steps on a GPU. Names of keys are those of Hugging Face and vLLM."""

    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count
    head_dim: Count
    intermediate_size: Count  #: of the dense MLP; unused where every layer has experts
    vocab_size: Count
    gated_mlp: bool = True  #: gate and up projection; False: one projection up
    experts: Experts | None = None
    latent_attention: LatentAttention | None = None
    sliding_window: SlidingWindow | None = None
    quantization: Quantization | None = None
    kv_cache_dtype: KvCacheDtype = "bfloat16"

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        layers, experts, window = self.num_hidden_layers, self.experts, self.sliding_window
        if experts is not None and experts.num_experts_per_tok > experts.num_experts:
            raise ValueError(f"experts.num_experts_per_tok = {experts.num_experts_per_tok} exceeds num_experts")
        if experts is not None and experts.num_dense_layers >= layers:
            raise ValueError(f"experts.num_dense_layers = {experts.num_dense_layers} leaves no layer with experts")
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        if self.latent_attention is None and heads % kv_heads:
            raise ValueError(f"num_key_value_heads = {kv_heads} does not divide num_attention_heads = {heads}")
        if window is not None and window.layers > layers:
            raise ValueError(f"sliding_window.layers = {window.layers} exceeds num_hidden_layers = {layers}")
        return self

    @property
    def architecture(self) -> Architecture:
        """These sizes alone, without what a model has beside them."""
        fields = Architecture.model_fields
        return Architecture(**{name: getattr(self, name) for name in fields})

    @property
    def query_size(self) -> int:
        """Width of the query, elements."""
        return self.num_attention_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Width of the keys (and as much again for the values), elements."""
        return self.num_key_value_heads * self.head_dim

    @property
    def output_size(self) -> int:
        """Width of what the heads give to the output projection, elements."""
        latent = self.latent_attention
        return self.query_size if latent is None else self.num_attention_heads * latent.v_head_dim

    @property
    def mlp_projections_up(self) -> int:
        """Matrices from the hidden to the intermediate size: gate and up, or up alone."""
        return 2 if self.gated_mlp else 1

    @property
    def moe_layers(self) -> int:
        """Layers with routed experts."""
        return 0 if self.experts is None else self.num_hidden_layers - self.experts.num_dense_layers

    @property
    def dense_layers(self) -> int:
        """Layers with a dense MLP."""
        return self.num_hidden_layers - self.moe_layers

    def dtype_of(self, part: Part) -> str:
        """Type of the weights of this part: bfloat16, or that of the quantization."""
        quantized = self.quantization
        return quantized.dtype if quantized is not None and part in quantized.parts else "bfloat16"

    def weight_bytes_of(self, part: Part) -> float:
        """Bytes of one weight of this part."""
        quantized = self.quantization
        return quantized.bits / 8 if quantized is not None and part in quantized.parts else BF16_BYTES

    def layer_parameters(self) -> dict[Part, int]:
        """Parameters of the matrices of all layers, part by part; the router apart."""
        h, up_and_down = self.hidden_size, self.mlp_projections_up + 1
        mlp = self.dense_layers * up_and_down * h * self.intermediate_size
        routed = 0
        if self.experts is not None:
            mlp += self.moe_layers * up_and_down * h * self.experts.shared_intermediate_size
            routed = self.moe_layers * self.experts.num_experts * self._expert_parameters
        return {"attention": self.num_hidden_layers * self._attention_parameters, "mlp": mlp, "experts": routed}

    @property
    def _expert_parameters(self) -> int:
        assert self.experts is not None
        return (self.mlp_projections_up + 1) * self.hidden_size * self.experts.moe_intermediate_size

    @property
    def _attention_parameters(self) -> int:
        h, latent = self.hidden_size, self.latent_attention
        if latent is None:
            return 2 * h * self.query_size + 2 * h * self.kv_size
        rank, heads = latent.q_lora_rank, self.num_attention_heads
        query = rank * (h + self.query_size) if rank else h * self.query_size
        expand = latent.kv_lora_rank * heads * (latent.qk_nope_head_dim + latent.v_head_dim)
        return query + h * latent.cached_values + expand + h * self.output_size

    @property
    def router_parameters(self) -> int:
        """Of all layers' routers, which deal tokens out to experts."""
        return 0 if self.experts is None else self.moe_layers * self.hidden_size * self.experts.num_experts

    @property
    def ranks(self) -> int:
        """Ranks of attention data parallelism that an instance has."""
        return 1 if self.experts is None else self.experts.data_parallel_size

    @property
    def replicated_weight_bytes(self) -> float:
        """Bytes of matrices that tensor parallelism does not split: the router, and MLA's way down."""
        latent, down = self.latent_attention, 0
        if latent is not None:
            down = self.num_hidden_layers * self.hidden_size * (latent.q_lora_rank + latent.cached_values)
        return self.router_parameters * BF16_BYTES + down * self.weight_bytes_of("attention")

    @property
    def kv_values_per_layer(self) -> int:
        """Elements that a token keeps in each layer, over all GPUs that do not copy them."""
        latent = self.latent_attention
        return 2 * self.kv_size if latent is None else latent.cached_values

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes that one token keeps in memory, over all layers and GPUs; layers with a window like all others."""
        return self.num_hidden_layers * self.kv_values_per_layer * KV_BYTES[self.kv_cache_dtype]

    def kv_bytes(self, tokens: int) -> int:
        """Bytes that a sequence of so many tokens needs, if layers with a window keep no more than that."""
        window = self.sliding_window
        kept = self.num_hidden_layers * tokens
        if window is not None:
            kept -= window.layers * max(0, tokens - window.tokens)
        return kept * self.kv_values_per_layer * KV_BYTES[self.kv_cache_dtype]


class Model(Architecture):
    """A transformer that generates text."""

    name: Annotated[str, Field(min_length=1)]
    max_model_len: Count  #: tokens
    tie_word_embeddings: bool = False
    other_parameters: CountOrNone = 0  #: biases, query/key norms, learned positions
    not_modelled: tuple[str, ...] = ()  #: what the model has and these numbers leave out, in words
    provenance: Provenance | None = None

    @model_validator(mode="before")
    @classmethod
    def _bytes_name_a_type(cls, data: Any) -> Any:
        """Files may say bytes in place of types: weight_bytes_per_parameter = 2 or 1, kv_bytes_per_value = 2 or 1."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        weight, kv = data.pop("weight_bytes_per_parameter", None), data.pop("kv_bytes_per_value", None)
        if weight not in (None, 1, 2):
            raise ValueError(f"weight_bytes_per_parameter = {weight}, expected 2 (bf16), 1 (fp8) or [quantization]")
        if kv not in (None, 1, 2):
            raise ValueError(f"kv_bytes_per_value = {kv}, expected 2 (bf16) or 1 (fp8)")
        if weight == 1:
            data.setdefault("quantization", {"dtype": "fp8", "bits": 8})
        if kv is not None:
            data.setdefault("kv_cache_dtype", "fp8" if kv == 1 else "bfloat16")
        return data

    @property
    def parameters(self) -> int:
        """Number of parameters, with embeddings; `other_parameters` included."""
        return sum(self.layer_parameters().values()) + self._unquantized_parameters

    @property
    def active_parameters(self) -> int:
        """Parameters that one token passes: all but the experts that it is not sent to."""
        if self.experts is None:
            return self.parameters
        asleep = self.experts.num_experts - self.experts.num_experts_per_tok
        return self.parameters - self.moe_layers * asleep * self._expert_parameters

    @property
    def _unquantized_parameters(self) -> int:
        h = self.hidden_size
        embeddings = (1 if self.tie_word_embeddings else 2) * self.vocab_size * h
        return embeddings + self.router_parameters + (2 * self.num_hidden_layers + 1) * h + self.other_parameters

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, before any split across GPUs."""
        layers = sum(count * self.weight_bytes_of(part) for part, count in self.layer_parameters().items())
        return int(layers + self._unquantized_parameters * BF16_BYTES)

    def with_weights(self, dtype: str) -> Model:
        """Return this model with all weights of its layers in another type, and named so; "auto": as it is.

        InputError for an unknown one.
        """
        if dtype == "auto":
            return self
        known = ("auto", "bfloat16", *BITS)
        if dtype not in known:
            raise InputError(f"dtype = '{dtype}'{nearest(dtype, known)}")
        quantization = (
            None if dtype == "bfloat16" else Quantization.model_validate({"dtype": dtype, "bits": BITS[dtype]})
        )
        if quantization == self.quantization:
            return self
        return self.model_copy(update={"quantization": quantization, "name": f"{self.name}-{dtype}"})

    def with_routing(self, routing: str) -> Model:
        """Return this model with tokens routed so; InputError for an unknown way, and for a skew without experts."""
        known = get_args(Routing)
        if routing not in known:
            raise InputError(f"routing = '{routing}'{nearest(routing, known)}")
        if self.experts is None:
            if routing != "uniform":
                raise InputError(f"routing = '{routing}' is of mixtures of experts; {self.name} has none")
            return self
        return self.model_copy(update={"experts": self.experts.model_copy(update={"routing": routing})})

    def over(self, tensor_parallel_size: int, expert_parallel_size: int | None, data_parallel_size: int = 1) -> Model:
        """Return this model with its experts over so many GPUs: dealt out to all, or with 1 a share of each on all.

        None: as step times have it. All are the GPUs of `data_parallel_size` ranks. InputError for another number, and
        for a model without experts.
        """
        self._check_experts(expert_parallel_size, data_parallel_size)
        gpus = tensor_parallel_size * data_parallel_size
        if expert_parallel_size not in (None, 1, gpus):
            product = "tensor_parallel_size" + (" x data_parallel_size" if data_parallel_size > 1 else "")
            raise InputError(
                f"expert_parallel_size = {expert_parallel_size}: expected 1 or {product} = {gpus}; vLLM deals experts "
                "out to all GPUs of an instance, or to none"
            )
        if self.experts is None or gpus == 1:
            return self
        spread = {"dealt_out": None if expert_parallel_size is None else expert_parallel_size > 1}
        update = {**spread, "data_parallel_size": data_parallel_size}
        return self.model_copy(update={"experts": self.experts.model_copy(update=update)})

    def _check_experts(self, expert_parallel_size: int | None, data_parallel_size: int) -> None:
        if self.experts is not None:
            return
        if expert_parallel_size is not None and expert_parallel_size > 1:
            raise InputError(f"expert_parallel_size = {expert_parallel_size}: {self.name} has no experts")
        if data_parallel_size > 1:
            raise InputError(
                f"data_parallel_size = {data_parallel_size}: {self.name} has no experts for ranks to share; "
                f"instances = {data_parallel_size} are as many engines of their own, which is the same"
            )

    def with_kv_cache(self, dtype: str) -> Model:
        """Return this model with keys and values of another type; "auto": as it is. InputError for an unknown one."""
        if dtype == "auto":
            return self
        if dtype not in KV_BYTES:
            known = ["auto", *KV_BYTES]
            raise InputError(f"kv_cache_dtype = '{dtype}'{nearest(dtype, known)}")
        return self.model_copy(update={"kv_cache_dtype": dtype})
