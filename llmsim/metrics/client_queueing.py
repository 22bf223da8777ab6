"""How long requests wait at their clients, before they are sent."""

from __future__ import annotations

import numpy as np

from llmsim.metrics.summary import summary
from llmsim.record import Record


def client_queueing(record: Record) -> dict[str, float | int | None]:
    """Summary of the waits at the clients, from arrival to sending.

    All requests of the run; those that were never sent are censored at its end. In a closed loop there is no such
    wait: a request exists only once its client has the answer to the last one.
    """
    requests = record.requests
    waits_s = requests["sent_s"] - requests["arrival_s"]
    never = np.isnan(waits_s)
    return summary(waits_s[~never], (requests["end_s"] - requests["arrival_s"])[never])
