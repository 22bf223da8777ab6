"""Work that led to no finished request."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmsim.metrics import gpu_time
from llmsim.record import Record
from llmsim.request import Outcome


def wasted(record: Record, gpus: Sequence[int]) -> dict[str, int | float]:
    """Count the work that led to no finished request.

    `computed_tokens`: computed for requests that did not finish, or computed again after a preemption. `output_tokens`:
    emitted for requests that did not finish. `gpu_s`: the time of the instances' `gpus` that went into
    the former, of `busy_gpu_s` in all (`metrics.gpu_time` has the rule).
    """
    requests = record.requests
    served = requests["outcome"] == Outcome.FINISHED
    computed = np.where(served, requests["recomputed_tokens"], requests["computed_tokens"])
    return {
        "computed_tokens": int(computed.sum()),
        "output_tokens": int(requests["emitted_tokens"][~served].sum()),
        "gpu_s": gpu_time.wasted_gpu_s(record, gpus),
        "busy_gpu_s": gpu_time.busy_gpu_s(record, gpus),
    }
