"""How many prompt tokens the prefix cache had."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import numpy as np

from llmsim.metrics.kpi import MORE, Kpi, OfRun
from llmsim.metrics.scored import Run
from llmsim.metrics.summary import number
from llmsim.scenario import Scenario, TraceWorkload
from llmsim.workload.trace_layout import DEFAULT_HASHED_TOKENS


@dataclass(frozen=True, slots=True, eq=False)
class PrefixHits(OfRun):
    """Prompt tokens that requests found in the prefix cache, of all requests that were scheduled.

    `trace_block_hit_ratio`, of a run of a trace, counts in the blocks of 512 tokens in which Mooncake publishes hits,
    cut ones as whole.
    """

    key: ClassVar[str] = "prefix_cache"

    cached_tokens: Annotated[int, Kpi("prompt tokens found", "tokens", "count")]
    prompt_tokens: Annotated[int, Kpi("prompt tokens", "tokens", "basis")]
    hit_ratio: Annotated[float | None, Kpi("prefix cache hits", "share", "share", MORE, shown_in="%")]
    trace_block_hit_ratio: Annotated[
        float | None, Kpi("prefix cache hits in blocks of the trace", "share", "share", MORE, shown_in="%")
    ] = None

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether any instance keeps KV blocks for requests that begin alike."""
        return any(cluster.prefix_caching for _, cluster in scenario.pools)

    @classmethod
    def lacks(cls, scenario: Scenario) -> Collection[str]:
        """Blocks of a trace, where there is none."""
        return () if isinstance(scenario.workload, TraceWorkload) else ("trace_block_hit_ratio",)

    @classmethod
    def of(cls, run: Run) -> Self:
        """Count."""
        requests = run.record.requests
        scheduled = ~np.isnan(requests["first_scheduled_s"])
        prompt = requests["prompt_tokens"][scheduled]
        cached = np.minimum(requests["cached_tokens"][scheduled], prompt)
        ratio = number(cached.sum() / prompt.sum()) if len(prompt) else None
        of_blocks = None
        if isinstance(run.scenario.workload, TraceWorkload) and len(prompt):
            size = run.scenario.workload.hash_block_tokens or DEFAULT_HASHED_TOKENS
            of_blocks = number(np.ceil(cached / size).sum() / int(np.ceil(prompt / size).sum()))
        return cls(int(cached.sum()), int(prompt.sum()), ratio, of_blocks)
