"""Pools of a heterogeneous cluster, and the router before them.

What a pool leaves out is ``[cluster]``'s, ``[scheduler]``'s and ``[host]``'s.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field

from llmsim.scenario.table import Count, NotNegative, Positive, Table

Role = Literal["mixed", "prefill", "decode"]
T = TypeVar("T", bound=Table)


class PoolScheduler(Table):
    """Options on top of those of [scheduler]; with the name of another policy, all options of that one."""

    model_config = ConfigDict(extra="allow")

    name: str | None = None

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


class EngineHost(Table):
    """The engines' part of [host]; its API server is one for the whole cluster."""

    profile: str | None = None
    step_s: NotNegative | None = None
    sequence_s: NotNegative | None = None
    eager_step_s: NotNegative | None = None
    max_cudagraph_capture_size: Count | None = None


class KvTransfer(Table):
    """How keys and values get from the pools for prefill to those for decode."""

    bandwidth_gb_per_s: Positive  #: of each instance, in and out; 10^9 bytes
    latency_s: NotNegative = 0.0
    #: "layers": a layer is sent while the next ones are computed; only what is left after the prefill takes time
    overlap: Literal["none", "layers"] = "none"
    #: no room on the decode side: wait for it, compute the prompt again there, or decode where the prompt was computed
    when_full: Literal["wait", "recompute", "fall_back"] = "wait"
    router: str = "least_outstanding"  #: picks the instance that decodes


class Pool(Table):
    """Identical instances, one ``[[pool]]`` of several behind the same router. All serve the same model."""

    name: Annotated[str, Field(min_length=1)]
    role: Role = "mixed"
    gpu: str | None = None
    instances: Annotated[int, Field(ge=1, le=100_000)] | None = None
    tensor_parallel_size: Count | None = None
    latency: Literal["table", "roofline"] | None = None
    num_gpu_blocks: Count | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    block_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    prefix_caching: bool | None = None
    max_model_len: Count | None = None
    host: EngineHost = EngineHost()
    scheduler: PoolScheduler = PoolScheduler()

    def over(self, cluster: T) -> T:
        """Return [cluster] as this pool has it."""
        own = self.model_dump(exclude_none=True)
        return cluster.model_copy(update={key: own[key] for key in own if key in type(cluster).model_fields})
