"""What each pool of a heterogeneous cluster did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from llmsim.metrics.kpi import LESS, MORE, ByName, Kpi, Part
from llmsim.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class PoolScore(Part):
    """What a pool is, and the requests that its instances had, all of the run.

    `requests` counts also those that it computed prompts for and handed over, which another pool then has, too; the
    other counts, and TTFT, are of those that ended in the pool. `instances`: the first instance's number, and the
    number after the last one's.
    """

    role: str
    gpu: str
    tensor_parallel_size: Annotated[int, Kpi("tensor-parallel GPUs", kind="basis")]
    instances: Sequence[int]
    num_gpu_blocks: Annotated[int, Kpi("KV blocks of an instance", kind="basis")]
    requests: Annotated[int, Kpi("requests", kind="basis")]
    finished: Annotated[int, Kpi("finished", better=MORE)]
    output_tokens: Annotated[int, Kpi("output tokens", "tokens", "basis")]
    mean_ttft_s: Annotated[float | None, Kpi("mean TTFT", "s", "latency", LESS, shown_in="ms")]
    #: share of the time, from the first to the last arrival, in which instances were in a step
    utilisation: Annotated[float | None, Kpi("time in steps", "share", "share", shown_in="%")]


@dataclass(frozen=True, slots=True, eq=False)
class Pools(ByName):
    """A score for each pool, by name."""

    key: ClassVar[str] = "pools"
    compared: ClassVar[bool] = False
    part: ClassVar[type[Part]] = PoolScore

    by_name: Mapping[str, PoolScore]

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether the cluster has pools."""
        return bool(scenario.pool)
