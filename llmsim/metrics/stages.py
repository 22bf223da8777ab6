"""Where requests of a disaggregated cluster spend their time: five stages and a transfer (DistServe, OSDI '24, 4.4)."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsim.metrics.summary import summary
from llmsim.record import Record
from llmsim.request import Outcome


def stages(record: Record) -> dict[str, Any]:
    """Summaries of each stage, in seconds, and what crossed the network.

    Over finished requests that joined a decode instance, by their last handover: `prefill_queue_s` to the first
    chunk, `prefill_s` to the first token, `memory_wait_s` until the decode side has room (and the link is free),
    `transfer_s` of keys and values, `decode_queue_s` to the step boundary at which they join, `decode_s` to the end.
    The six add up to the time from being queued to the end. `handed_over`, `joined`: handovers, and those that led to
    decoding there; the rest fell back, was computed again or ended on the way.
    """
    moved, requests = record.transfers, record.requests
    joined = np.flatnonzero(~np.isnan(moved["joined_s"]))
    finished = requests["outcome"][moved["request"][joined]] == Outcome.FINISHED
    last = joined[finished]
    request = moved["request"][last]
    bounds = (
        requests["queued_s"][request],
        requests["first_scheduled_s"][request],
        moved["offered_s"][last],
        moved["start_s"][last],
        moved["end_s"][last],
        moved["joined_s"][last],
        requests["end_s"][request],
    )
    names = ("prefill_queue_s", "prefill_s", "memory_wait_s", "transfer_s", "decode_queue_s", "decode_s")
    spans = {name: summary(after - before) for name, before, after in zip(names, bounds, bounds[1:], strict=False)}
    return {
        **spans,
        "handed_over": len(moved["request"]),
        "joined": len(joined),
        "bytes": int(moved["bytes"].sum()),
    }
