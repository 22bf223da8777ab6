"""How unevenly requests are spread over the instances."""

from __future__ import annotations

import numpy as np

from llmsim.metrics.summary import number
from llmsim.record import Floats, Ints, Record


def imbalance(record: Record, instances: int) -> dict[str, float | None]:
    """How unevenly requests lay on the instances from the first to the last arrival."""
    requests = record.requests
    span_s = float(requests["arrival_s"].min()), float(requests["arrival_s"].max())
    there_s = requests.get("admitted_s", requests["sent_s"])
    cv = outstanding_cv(requests["instance"], there_s, requests["end_s"], instances, span_s)
    return {"outstanding_cv": number(cv)}


def outstanding_cv(instance: Ints, sent_s: Floats, end_s: Floats, instances: int, span_s: tuple[float, float]) -> float:
    """Coefficient of variation, over instances, of the requests sent and not ended; its mean over time.

    `instance`, `sent_s` and `end_s` have shape (requests,); whoever was never sent has instance -1. Time counts from
    ``span_s[0]`` to ``span_s[1]``, as long as anybody is in the system; NaN if nobody ever is. Exact: between events,
    with n_i requests on instance i of k, CV^2 = k sum(n_i^2) / sum(n_i)^2 - 1.
    """
    sent = instance >= 0
    where = np.concatenate([instance[sent]] * 2)
    time_s = np.concatenate([sent_s[sent], end_s[sent]])
    step = np.repeat([1, -1], int(sent.sum()))
    of_instance = np.lexsort((-step, time_s, where))  # at equal times requests come before they go: never below 0
    own = np.cumsum(step[of_instance])  # each instance begins where the one before has ended: at 0
    square = np.empty(len(step), dtype=np.int64)
    square[of_instance] = own**2 - (own - step[of_instance]) ** 2
    order = np.argsort(time_s, kind="stable")
    total, squares = np.cumsum(step[order]), np.cumsum(square[order])
    lasts_s = np.diff(np.clip(time_s[order], *span_s), append=span_s[1])
    busy = (total > 0) & (lasts_s > 0)
    if not busy.any():
        return float("nan")
    cv = np.sqrt(np.maximum(instances * squares[busy] / total[busy] ** 2 - 1.0, 0.0))
    return float(np.average(cv, weights=lasts_s[busy]))
