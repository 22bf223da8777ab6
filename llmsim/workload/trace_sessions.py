"""Conversations of a trace: turns that come so long after the end of the turn before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.workload.sessions import NO_REQUEST, Sessions
from llmsim.workload.trace_rows import Rows

Ints = NDArray[np.int64]


def timed(path: Path, rows: Rows) -> tuple[Rows, NDArray[np.float64]]:
    """Give each turn the earliest time that it may come, and return these times' conversations' beginnings.

    A turn with a delay comes that long after the end of the turn before it, at the earliest after its arrival. Raises
    InputError if the first turn of a conversation has no time.
    """
    if rows.session is None:
        return rows, rows.arrival_s
    begins = np.full(int(rows.session.max()) + 1, np.nan)
    last = begins.copy()
    earliest = rows.arrival_s.copy()
    for i, session in enumerate(rows.session.tolist()):
        wait_s = np.nan if rows.delay_s is None else rows.delay_s[i]
        if np.isnan(begins[session]):
            if np.isnan(earliest[i]):
                raise InputError(f"{path}: request {i} is the first of its conversation, and has no time of arrival")
            begins[session] = earliest[i]
        elif not np.isnan(wait_s):
            earliest[i] = last[session] + wait_s
        last[session] = earliest[i]
    return replace(rows, arrival_s=earliest), begins[rows.session]


def linked(rows: Rows, rate_scale: float) -> Sessions | None:
    """Return which of the rows, in order of their earliest time, come after which; None if all come by themselves."""
    if rows.session is None or rows.delay_s is None:
        return None
    after = np.full(len(rows), NO_REQUEST)
    think_s = np.zeros(len(rows))
    conversation = np.arange(len(rows)) + int(rows.session.max()) + 1
    last: dict[int, int] = {}
    for i, session in enumerate(rows.session.tolist()):
        before = last.get(session)
        if before is not None and not np.isnan(rows.delay_s[i]):
            after[i], think_s[i] = before, rows.delay_s[i] / rate_scale
            conversation[i] = conversation[before]
        last[session] = i
    if (after == NO_REQUEST).all():
        return None
    return Sessions(after, think_s, conversation)
