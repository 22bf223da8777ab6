"""Requests and the attempts at them: from the columns of a record's requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.metrics import ranges
from llmsim.metrics.ranges import Bools
from llmsim.record import Timelines
from llmsim.request import Outcome

Columns = Mapping[str, NDArray[Any]]


def final(requests: Columns) -> Bools:
    """Whether a row is the last attempt at its request, (N,)."""
    if "attempt" not in requests:
        return np.ones(len(requests["outcome"]), dtype=np.bool_)
    order = np.lexsort((requests["attempt"], requests["request"]))
    last = np.append(np.diff(requests["request"][order]) != 0, True)
    out = np.empty(len(order), dtype=np.bool_)
    out[order] = last
    return out


def whole(
    timelines: Timelines, requests: Columns, *, attempts: int, on: Collection[Outcome], end_s: float
) -> Timelines:
    """Timelines with one row for each request, however often it was tried: from its first arrival to its last end.

    Its tokens and its outcome are those of its last attempt; what an earlier one had delivered is thrown away. A
    request whose next attempt the end of the run forestalled (`attempts` allowed at most, after the outcomes `on`) is
    unfinished, until `end_s`.
    """
    last = final(requests)
    if last.all() and attempts == 1:
        return timelines
    number, attempt = requests["request"], requests["attempt"]
    first_s = np.full(int(number.max()) + 1, np.nan)
    first_s[number[attempt == 0]] = timelines.arrival_s[attempt == 0]
    outcome = requests["outcome"][last]
    pending = (attempt[last] + 1 < attempts) & np.isin(outcome, list(on))
    kept = ranges.select(timelines, last)
    return replace(
        kept,
        arrival_s=first_s[number[last]],
        outcome=np.where(pending, Outcome.UNFINISHED, kept.outcome).astype(np.int8),
        end_s=np.where(pending, np.maximum(kept.end_s, end_s), kept.end_s),
    )
