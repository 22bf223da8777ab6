"""How many prompt tokens the prefix cache had."""

from __future__ import annotations

import numpy as np

from llmsim.metrics.summary import number
from llmsim.record import Record
from llmsim.workload.trace_format import trace_format


def prefix_hits(record: Record, *, of_trace: bool) -> dict[str, float | int | None]:
    """Count the prompt tokens that requests found in the prefix cache, of all requests that were scheduled.

    `trace_block_hit_ratio`, of a run of a trace, counts in the blocks of 512 tokens in which Mooncake publishes hits,
    cut ones as whole.
    """
    requests = record.requests
    scheduled = ~np.isnan(requests["first_scheduled_s"])
    prompt = requests["prompt_tokens"][scheduled]
    cached = np.minimum(requests["cached_tokens"][scheduled], prompt)
    values: dict[str, float | int | None] = {
        "cached_tokens": int(cached.sum()),
        "prompt_tokens": int(prompt.sum()),
        "hit_ratio": number(cached.sum() / prompt.sum()) if len(prompt) else None,
    }
    if of_trace:
        size = trace_format("mooncake").hashed_tokens
        blocks = int(np.ceil(prompt / size).sum())
        values["trace_block_hit_ratio"] = number(np.ceil(cached / size).sum() / blocks) if blocks else None
    return values
