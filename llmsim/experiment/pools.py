"""What each pool of a heterogeneous cluster did."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsim.experiment.verdict import share_in_steps
from llmsim.metrics import ranges, request_latency
from llmsim.metrics.sections.pools import Pools, PoolScore
from llmsim.metrics.summary import number
from llmsim.record import Record, Timelines
from llmsim.request import Outcome
from llmsim.scenario import Scenario


def pool_scores(delivered: Timelines, record: Record, scenario: Scenario, num_gpu_blocks: tuple[int, ...]) -> Pools:
    """Score each pool: what it is, and the requests that its instances had, all of the run."""
    requests, sent = record.requests, record.transfers
    rows = ranges.layout(delivered)
    ttft_s = request_latency.ttft_s(delivered)
    span_s = float(requests["arrival_s"].min()), float(requests["arrival_s"].max())
    scores: dict[str, PoolScore] = {}
    first = 0
    for pool, cluster in scenario.pools:
        last = first + cluster.instances
        own = (requests["instance"] >= first) & (requests["instance"] < last)
        answered = own & ~np.isnan(ttft_s)
        handed_on = sent["request"][(sent["source"] >= first) & (sent["source"] < last)]
        scores[pool.name] = PoolScore(
            role=pool.role,
            gpu=cluster.gpu,
            tensor_parallel_size=cluster.tensor_parallel_size,
            instances=[first, last],
            num_gpu_blocks=num_gpu_blocks[first],
            requests=len(np.union1d(np.flatnonzero(own), handed_on)),
            finished=int((own & (requests["outcome"] == Outcome.FINISHED)).sum()),
            output_tokens=int(rows.n_tokens[own].sum()),
            mean_ttft_s=number(ttft_s[answered].mean()) if answered.any() else None,
            utilisation=share_in_steps(record, *span_s, instances=range(first, last)),
        )
        first = last
    return Pools(scores)


def pool_of_instances(scenario: Scenario) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Place in `scenario.pools` of the pool of each instance, shape (instances,)."""
    return np.repeat(np.arange(len(scenario.pools)), [cluster.instances for _, cluster in scenario.pools])
