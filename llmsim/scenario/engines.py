"""Engines by name and version: which rules a scenario has that says ``cluster.engine``, where it says nothing else.

One entry of `ENGINES` is one engine; the values were read in its code (vllm/engine/arg_utils.py, SGLang's server_args).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmsim.errors import InputError, nearest
from llmsim.latency.gpu import Gpu

GIB = 2**30
BY_ENGINE = AUTO = "auto"  #: host.profile: the one for cluster.engine; mem_fraction_static: by the GPU
#: vLLM's API server gives its large budgets to GPUs of so much memory, and never to an A100
A100 = "a100"
MEMORY_SHARES = frozenset({"gpu_memory_utilization", "mem_fraction_static"})
#: fitted on one H100 each; those of another version of vLLM, and another host, are the best there is
ASYNCHRONOUS_HOST, SYNCHRONOUS_HOST = "vllm-0.15.1", "vllm-0.11.0-h100"


@dataclass(frozen=True)
class Budgets:
    """Options of the scheduler for GPUs of at least so much memory."""

    least_bytes: int
    max_num_batched_tokens: int
    max_num_seqs: int


@dataclass(frozen=True)
class Engine:
    """What an engine does if it is started with no options."""

    version: str  #: as its makers call it
    scheduler: str
    async_scheduling: bool
    cluster: Mapping[str, Any]  #: keys of [cluster]
    budgets: tuple[Budgets, ...] = ()  #: largest memory first; none: the policy's own defaults
    host: str | None = None  #: the fitted host times that come closest, for host.profile = "auto"

    def rules(self) -> str:
        """Say which rules these are."""
        return f"rules and defaults of {self.version}"

    def options(self, gpu: Gpu) -> dict[str, int]:
        """Return the scheduler's options on this GPU."""
        memory_bytes = 0 if A100 in gpu.name else gpu.memory_bytes
        for budget in self.budgets:
            if memory_bytes >= budget.least_bytes:
                return {
                    "max_num_batched_tokens": budget.max_num_batched_tokens,
                    "max_num_seqs": budget.max_num_seqs,
                }
        return {}


_SMALL, _LARGE, _LARGEST = Budgets(0, 2048, 256), Budgets(70 * GIB, 8192, 1024), Budgets(160 * GIB, 16384, 1024)


def _vllm_v1(version: str, *budgets: Budgets, asynchronous: bool, memory: float = 0.9) -> Engine:
    cluster = {"gpu_memory_utilization": memory, "block_size": 16, "prefix_caching": True}
    host = ASYNCHRONOUS_HOST if asynchronous else SYNCHRONOUS_HOST
    return Engine(f"vLLM {version}", "chunked_prefill", asynchronous, cluster, budgets, host)


#: cluster.engine -> what it means
ENGINES: dict[str, Engine] = {
    "vllm-0.33": _vllm_v1("0.33", _LARGEST, _LARGE, _SMALL, asynchronous=True, memory=0.92),
    "vllm-0.15": _vllm_v1("0.15", _LARGE, _SMALL, asynchronous=True),
    "vllm-0.14": _vllm_v1("0.14", _LARGE, _SMALL, asynchronous=True),
    "vllm-0.11": _vllm_v1("0.11", _LARGE, _SMALL, asynchronous=False),
    "vllm-0.5.3": Engine(
        "vLLM 0.5.3",
        "fcfs",
        async_scheduling=False,
        cluster={"gpu_memory_utilization": 0.9, "block_size": 16, "prefix_caching": False},
    ),
    "sglang-0.5.23": Engine(
        "SGLang 0.5.23",
        "sglang",
        async_scheduling=True,
        cluster={"mem_fraction_static": AUTO, "block_size": 1, "prefix_caching": True},
    ),
}


def checked(name: str | None) -> str | None:
    """Return the name of an engine; ValueError with the nearest one if it is none."""
    if name is not None and name not in ENGINES:
        raise ValueError(f"unknown engine '{name}'{nearest(name, ENGINES)}")
    return name


def filled_in(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a scenario's data with what its engine says of [cluster] and the scheduler's name, where they are silent.

    What depends on the GPU is left to `Engine.options`: a plan tries several GPUs.
    """
    filled = dict(data)
    cluster = _given(data.get("cluster"))
    engine = ENGINES.get(str(cluster.get("engine")))
    if engine is None:
        return filled
    own = MEMORY_SHARES & set(cluster)  # one takes the other's place
    left = {key: value for key, value in engine.cluster.items() if not own or key not in MEMORY_SHARES}
    filled["cluster"] = {**left, **cluster}
    filled["scheduler"] = {"name": engine.scheduler, **_given(data.get("scheduler"))}
    return filled


def host_profile(engine: str | None) -> str:
    """Return the name of the host profile for ``host.profile = "auto"``; InputError where none fits."""
    if engine is None:
        raise InputError("auto: picked by cluster.engine, which is not given; expected that, or a profile's name")
    found = ENGINES[engine].host
    if found is None:
        raise InputError(f"auto: no host times were fitted for {engine}; fit some: llmsim profile from-bench")
    return found


def _given(table: Any) -> dict[str, Any]:
    """What a table says, read from a file or made in Python."""
    if table is None:
        return {}
    if isinstance(table, Mapping):
        return dict(table)
    given: dict[str, Any] = table.model_dump(exclude_unset=True)
    return given
