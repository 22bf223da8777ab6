"""The tables of a scenario that describe instances and their policies: cluster, pool, host, router, scheduler.

What a pool leaves out is ``[cluster]``'s, ``[scheduler]``'s and ``[host]``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    create_model,
    model_serializer,
    model_validator,
)

from llmsim.latency.model import Routing
from llmsim.quantities import Count, NotNegative, Positive
from llmsim.request import Role
from llmsim.scenario import engines
from llmsim.scenario.table import Table

#: how many instances there are, or may be
Instances = Annotated[int, Field(ge=1, le=100_000)]
#: keys of [cluster] that hold for all pools
OF_THE_WHOLE = ("engine", "router")


class LatencyChoice(Table):
    """Where step times come from: a name alone, or a table with the name and that source's options."""

    model_config = ConfigDict(extra="allow")

    #: a name of `llmsim list latencies`; its options stand beside it
    name: str

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, given: object) -> object:
        return {"name": given} if isinstance(given, str) else given

    @model_serializer(mode="wrap")
    def _short(self, full: SerializerFunctionWrapHandler) -> object:
        return full(self) if self.options else self.name

    @property
    def options(self) -> dict[str, Any]:
        """The options as given."""
        return dict(self.model_extra or {})


class ClusterTable(Table):
    """Identical instances behind one router."""

    #: rules and defaults of an engine, by name and version (`llmsim list engines`), for all that is not said otherwise:
    #: scheduler and async_scheduling, token budget and seats by GPU, memory, block size, prefix caching
    engine: Annotated[str | None, AfterValidator(engines.checked)] = None
    gpu: str = "a100-sxm4-80gb"
    model: str = "llama-3.1-8b"
    #: "auto": as the model's profile says, which is bfloat16 unless it was made for fp8
    kv_cache_dtype: Literal["auto", "bfloat16", "fp8"] = "auto"
    instances: Instances = 1
    tensor_parallel_size: Count = 1
    #: of mixtures of experts: the number of all GPUs deals experts out to them whole, evenly loaded; 1 gives every GPU
    #: a share of each; left out, as the step times have it
    expert_parallel_size: Count | None = None
    #: tokens to experts: each as likely as the other, or skewed as operators were measured, with step times composed so
    routing: Routing = "uniform"
    #: stages of tensor_parallel_size GPUs, each with a share of the layers; as many batches are under way, all alike
    pipeline_parallel_size: Count = 1
    #: of mixtures of experts: ranks of tensor_parallel_size GPUs, each with requests, keys and values of its own
    #: (seats, token budget and num_gpu_blocks are a rank's), in lockstep, evenly loaded; the GPUs of all share experts
    data_parallel_size: Count = 1
    latency: LatencyChoice = LatencyChoice(name="table")
    #: short for router.name; without either, round_robin
    router: str | None = None
    #: KV blocks of one instance; left out, they follow from GPU, model and gpu_memory_utilization
    num_gpu_blocks: Count | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    #: in place of it, SGLang's: share of the memory for weights and KV alone; "auto": as SGLang derives it from the GPU
    mem_fraction_static: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] | None = None
    block_size: Annotated[int, Field(ge=1, le=4096)] = 16
    #: keep KV blocks for requests that begin alike (vLLM's --enable-prefix-caching)
    prefix_caching: bool = False
    #: longer requests are rejected
    max_model_len: Count | None = None

    @property
    def gpus_per_instance(self) -> int:
        """GPUs that an instance has."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size

    @property
    def parallelism(self) -> str:
        """How an instance is spread over its GPUs, such as ``TP2 x DP4``; empty for one GPU."""
        sizes = {
            "TP": self.tensor_parallel_size,
            "PP": self.pipeline_parallel_size,
            "DP": self.data_parallel_size,
        }
        return " x ".join(f"{name}{size}" for name, size in sizes.items() if size > 1)

    @model_validator(mode="after")
    def _one_share(self) -> ClusterTable:
        if self.mem_fraction_static is not None and "gpu_memory_utilization" in self.model_fields_set:
            raise ValueError(
                "mem_fraction_static (SGLang's) and gpu_memory_utilization (vLLM's) exclude each other; give one"
            )
        return self

    @model_serializer(mode="wrap")
    def _one_share_is_kept(self, full: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = full(self)
        if values.get("mem_fraction_static") is not None:
            values.pop("gpu_memory_utilization", None)
        return values


class EngineHostTable(Table):
    """An engine's time outside the GPU: a profile (hardware_profiles/hosts/NAME.toml, or a .toml file), and changes."""

    #: host times: a name of `llmsim list hosts`, a .toml file, or "auto": those that were fitted for cluster.engine
    profile: str | None = None
    #: for each step
    step_s: NotNegative | None = None
    #: for each sequence in a step
    sequence_s: NotNegative | None = None
    #: for each step, what asynchronous scheduling cannot overlap with the GPU's work: sampling, launching
    serial_step_s: NotNegative | None = None
    #: as much again for each sequence in it
    serial_sequence_s: NotNegative | None = None
    #: for each step of more tokens than its largest CUDA graph, whose kernels the host launches one by one
    eager_step_s: NotNegative | None = None
    #: tokens of the largest graph; vLLM's default is min(2 x max_num_seqs, 512)
    max_cudagraph_capture_size: Count | None = None


class HostTable(EngineHostTable):
    """The engines' time outside the GPU, and that of the API server, one for the whole cluster."""

    #: from a request's sending to its entering the engine's queue
    request_s: NotNegative | None = None
    #: as much again for each token of the prompt
    prompt_token_s: NotNegative | None = None
    #: from a token's emission to its reaching the client
    response_s: NotNegative | None = None
    #: before that, its sender for each output token of an instance, one after the other
    output_token_s: NotNegative | None = None


class SchedulerChoice(Table):
    """A policy's name; every other key is an option of that policy and checked against it."""

    model_config = ConfigDict(extra="allow")

    name: str = "chunked_prefill"
    #: two steps in flight: each is decided while the one before it runs, and the host's time overlaps the GPU's (to
    #: SGLang the overlap schedule); left out: as cluster.engine has it, or else the policy: sglang alone has it on; a
    #: pipeline has as many under way as stages in either case
    async_scheduling: bool | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_left_out(self, full: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = full(self)
        return {key: value for key, value in values.items() if value is not None or key != "async_scheduling"}

    @property
    def options(self) -> dict[str, Any]:
        """The policy's options as given."""
        return dict(self.model_extra or {})


class PoolScheduler(Table):
    """Options on top of those of [scheduler]; with the name of another policy, all options of that one."""

    model_config = ConfigDict(extra="allow")

    name: str | None = None
    async_scheduling: bool | None = None  #: left out: that of [scheduler]

    @property
    def options(self) -> dict[str, Any]:
        """The options as given."""
        return dict(self.model_extra or {})


class RouterChoice(Table):
    """A router's name, how it learns of the instances, and its options: every other key, checked against the policy."""

    model_config = ConfigDict(extra="allow")

    #: left out: cluster.router
    name: str | None = None
    #: instances report every so many seconds, all together; 0: the router knows the present state (an oracle)
    report_age_s: NotNegative = 0.0
    #: whether the router adds what it has sent since the report (at age 0 there is nothing to add)
    count_own_sends: bool = True

    @property
    def options(self) -> dict[str, Any]:
        """The policy's options as given."""
        return dict(self.model_extra or {})


class KvTransferTable(Table):
    """How keys and values get from the pools for prefill to those for decode."""

    bandwidth_gb_per_s: Positive  #: of each instance, in and out; 10^9 bytes
    latency_s: NotNegative = 0.0
    #: "layers": a layer is sent while the next ones are computed; only what is left after the prefill takes time
    overlap: Literal["none", "layers"] = "none"
    #: no room on the decode side: wait for it, compute the prompt again there, or decode where the prompt was computed
    when_full: Literal["wait", "recompute", "fall_back"] = "wait"
    router: str = "least_outstanding"  #: picks the instance that decodes


if TYPE_CHECKING:

    class MayDiffer(Table):
        """The keys of [cluster] that are each pool's own; those that are read one by one are declared here."""

        latency: LatencyChoice | None = None
else:
    _KINDS = get_type_hints(ClusterTable, include_extras=True)
    #: the keys of [cluster] that are each pool's own, all of them left out
    MayDiffer = create_model(
        "MayDiffer",
        __base__=Table,
        __module__="pydantic",  # it has no source of its own
        **{key: (_KINDS[key] | None, None) for key in ClusterTable.model_fields if key not in OF_THE_WHOLE},
    )


class PoolTable(MayDiffer):
    """Identical instances, one ``[[pool]]`` of several behind the same router."""

    name: Annotated[str, Field(min_length=1)]
    role: Role = "mixed"
    host: EngineHostTable = EngineHostTable()
    scheduler: PoolScheduler = PoolScheduler()

    def over(self, cluster: ClusterTable) -> ClusterTable:
        """Return [cluster] as this pool has it."""
        own = {key: getattr(self, key, None) for key in ClusterTable.model_fields}
        return cluster.model_copy(update={key: value for key, value in own.items() if value is not None})
