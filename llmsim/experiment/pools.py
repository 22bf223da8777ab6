"""What each pool of a heterogeneous cluster did."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsim.experiment.verdict import utilisation
from llmsim.metrics import ranges, request_latency
from llmsim.metrics.summary import number
from llmsim.record import Record, Timelines
from llmsim.request import Outcome
from llmsim.scenario import Scenario


def pool_scores(
    delivered: Timelines, record: Record, scenario: Scenario, num_gpu_blocks: tuple[int, ...]
) -> dict[str, dict[str, Any]]:
    """Score each pool, by name: what it is, and the requests that its instances had, all of the run.

    `requests` counts also those that it computed prompts for and handed over, which another pool then has, too; the
    other counts, and TTFT, are of those that ended in the pool.
    `instances` is the first instance's number and the number after the last one's. `mean_ttft_s` is of those who got a
    first token; `utilisation` the share of the time, from the first to the last arrival, in which instances were in a
    step.
    """
    requests, sent = record.requests, record.transfers
    rows = ranges.layout(delivered)
    ttft_s = request_latency.ttft_s(delivered)
    span_s = float(requests["arrival_s"].min()), float(requests["arrival_s"].max())
    scores: dict[str, dict[str, Any]] = {}
    first = 0
    for pool, cluster in scenario.pools:
        last = first + cluster.instances
        own = (requests["instance"] >= first) & (requests["instance"] < last)
        answered = own & ~np.isnan(ttft_s)
        handed_on = sent["request"][(sent["source"] >= first) & (sent["source"] < last)]
        scores[pool.name] = {
            "role": pool.role,
            "gpu": cluster.gpu,
            "tensor_parallel_size": cluster.tensor_parallel_size,
            "instances": [first, last],
            "num_gpu_blocks": num_gpu_blocks[first],
            "requests": len(np.union1d(np.flatnonzero(own), handed_on)),
            "finished": int((own & (requests["outcome"] == Outcome.FINISHED)).sum()),
            "output_tokens": int(rows.n_tokens[own].sum()),
            "mean_ttft_s": number(ttft_s[answered].mean()) if answered.any() else None,
            "utilisation": utilisation(record, *span_s, instances=range(first, last)),
        }
        first = last
    return scores


def pool_of_instances(scenario: Scenario) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Place in `scenario.pools` of the pool of each instance, shape (instances,)."""
    return np.repeat(np.arange(len(scenario.pools)), [cluster.instances for _, cluster in scenario.pools])


def gpus_of_instances(scenario: Scenario) -> list[int]:
    """How many GPUs each instance has."""
    return [cluster.tensor_parallel_size for _, cluster in scenario.pools for _ in range(cluster.instances)]
