"""Why requests were not served, in the words of those who decided it."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsim.record import Record
from llmsim.request import Outcome

MOST = 3  #: reasons that are told one by one


def reasons_told(record: Record) -> list[dict[str, Any]]:
    """The most frequent reasons of requests that did not finish, {reason, requests} each, and all others as one."""
    requests = record.requests
    given = requests["reason"][(requests["outcome"] != Outcome.FINISHED)]
    counts = np.bincount(given[given >= 0], minlength=len(record.reasons))
    order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i] and record.reasons[i]]
    told = [{"reason": record.reasons[i], "requests": int(counts[i])} for i in order[:MOST]]
    others = int(sum(counts[i] for i in order[MOST:]))
    return [*told, {"reason": f"{len(order) - MOST} other reasons", "requests": others}] if others else told
