"""Work that led to no finished request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import numpy as np

from llmsim.metrics import gpu_time
from llmsim.metrics.kpi import LESS, Kpi, OfRun
from llmsim.metrics.scored import Run
from llmsim.request import Outcome


@dataclass(frozen=True, slots=True, eq=False)
class Wasted(OfRun):
    """Work of the whole run for requests that did not finish, or done again after a preemption."""

    key: ClassVar[str] = "wasted"

    computed_tokens: Annotated[int, Kpi("wasted computation", "tokens", "count", LESS)]
    #: emitted for requests that did not finish
    output_tokens: Annotated[int, Kpi("wasted output", "tokens", "count", LESS)]
    #: that went into `computed_tokens`, see `metrics.gpu_time`
    gpu_s: Annotated[float, Kpi("wasted GPU time", "s", "time", LESS)]
    #: in all
    busy_gpu_s: Annotated[float, Kpi("GPU time in steps", "s", "time")]

    @classmethod
    def of(cls, run: Run) -> Self:
        """Add up."""
        requests = run.record.requests
        served = requests["outcome"] == Outcome.FINISHED
        computed = np.where(served, requests["recomputed_tokens"], requests["computed_tokens"])
        return cls(
            int(computed.sum()),
            int(requests["emitted_tokens"][~served].sum()),
            gpu_time.wasted_gpu_s(run.record, run.gpus),
            gpu_time.busy_gpu_s(run.record, run.gpus),
        )
