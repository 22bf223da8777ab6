"""Waits as the parts behind a gateway see them: at the engine, and at the gateway itself."""

from __future__ import annotations

import numpy as np

from llmsim.metrics.summary import summary
from llmsim.record import Record
from llmsim.request import Outcome


def gateway_waits(record: Record, *, limited: bool) -> dict[str, dict[str, float | int | None]]:
    """Summaries of all attempts as an engine sees them: TTFT from its queue to its GPU, and the wait at the gateway.

    What has not come so far is censored: at the end of the attempt. `limited`: the gateway lets only so many requests
    through at a time, so that there is a wait.
    """
    requests = record.requests
    there = ~np.isnan(requests["queued_s"])
    ttft_s = requests["first_token_s"] - requests["queued_s"]
    never = np.isnan(ttft_s)
    ended_s = requests["end_s"] - requests["queued_s"]
    values = {"engine_ttft_s": summary(ttft_s[~never], ended_s[never & there])}
    if limited:
        waits_s = requests["admitted_s"] - requests["sent_s"]
        given_up_s = np.fmin(requests["left_s"], requests["end_s"]) - requests["sent_s"]
        waiting = np.isnan(waits_s) & ~np.isnan(given_up_s) & (requests["outcome"] != Outcome.REJECTED)
        values["gateway_queueing_s"] = summary(waits_s[~np.isnan(waits_s)], given_up_s[waiting])
    return values
