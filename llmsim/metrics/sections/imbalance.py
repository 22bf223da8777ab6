"""How unevenly requests are spread over the instances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import numpy as np

from llmsim.metrics.kpi import LESS, Kpi, OfRun
from llmsim.metrics.scored import Run
from llmsim.metrics.summary import number
from llmsim.record import Floats, Ints
from llmsim.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class Imbalance(OfRun):
    """How unevenly requests lie on the instances, from the first to the last arrival."""

    key: ClassVar[str] = "imbalance"
    always: ClassVar[bool] = True
    compared: ClassVar[bool] = False

    outstanding_cv: Annotated[float | None, Kpi("imbalance: CV of outstanding over instances", "", "ratio", LESS)]

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """One instance has none; requests that move are on two; instances that come and go are not alike."""
        return scenario.most_instances > 1 and scenario.kv_transfer is None and scenario.autoscaling is None

    @classmethod
    def of(cls, run: Run) -> Self:
        """Measure."""
        requests = run.record.requests
        span_s = float(requests["arrival_s"].min()), float(requests["arrival_s"].max())
        there_s = requests.get("admitted_s", requests["sent_s"])
        instances = len(run.record.step_ends_s)
        cv = outstanding_cv(requests["instance"], there_s, requests["end_s"], instances, span_s)
        return cls(number(cv))


def outstanding_cv(instance: Ints, sent_s: Floats, end_s: Floats, instances: int, span_s: tuple[float, float]) -> float:
    """Coefficient of variation, over instances, of the requests sent and not ended; its mean over time.

    `instance`, `sent_s` and `end_s` have shape (requests,); requests that were never sent have instance -1. Time counts
    from ``span_s[0]`` to ``span_s[1]``, as long as a request is in the system; NaN if none ever is. Exact: between
    events, with n_i requests on instance i of k, CV^2 = k sum(n_i^2) / sum(n_i)^2 - 1.
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
