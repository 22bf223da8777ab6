"""How many prompt tokens the prefix cache had."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np

from llmsim.metrics.kpi import MORE, Kpi, OfRun
from llmsim.metrics.scored import Run
from llmsim.metrics.summary import number
from llmsim.scenario import Scenario, TraceWorkload
from llmsim.workload.trace_layout import TraceOptions, layout_of_file


@dataclass(frozen=True, slots=True, eq=False)
class PrefixHits(OfRun):
    """Prompt tokens that requests found in the prefix cache, of all requests that were scheduled.

    `trace_block_hit_ratio`, of a run of a trace with hash_ids, counts in their blocks (Mooncake publishes hits so, in
    blocks of 512 tokens), cut ones as whole.
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
        size = _block_tokens(run.scenario)
        if size is not None and len(prompt):
            of_blocks = number(np.ceil(cached / size).sum() / int(np.ceil(prompt / size).sum()))
        return cls(int(cached.sum()), int(prompt.sum()), ratio, of_blocks)


def _block_tokens(scenario: Scenario) -> int | None:
    """Tokens in the blocks of the trace's hash_ids; None without such, or where the file is gone."""
    trace = scenario.workload
    if not isinstance(trace, TraceWorkload):
        return None
    options = TraceOptions(trace.format, trace.columns, hash_block_tokens=trace.hash_block_tokens)
    layout = layout_of_file(Path(trace.trace), options)
    return None if layout is None or layout.hashes is None else layout.hashed_tokens
