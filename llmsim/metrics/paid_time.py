"""Instance-seconds of a cluster that grows and shrinks: pure functions on `Record.instance_states`."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.record import Floats, InstanceState, Ints

States = Mapping[str, NDArray[Any]]
#: in which an instance may have requests
SERVING = (InstanceState.READY, InstanceState.DRAINING)
#: all but off
PAID = (InstanceState.STARTING, *SERVING)


def instance_seconds(
    states: States, of: tuple[InstanceState, ...] = PAID, start_s: float = -inf, stop_s: float = inf
) -> float:
    """Instance-seconds in some states between two times."""
    lasts_s = np.minimum(states["end_s"], stop_s) - np.maximum(states["start_s"], start_s)
    return float(np.maximum(lasts_s[np.isin(states["state"], of)], 0.0).sum())


def instances_at(states: States, time_s: Floats, of: tuple[InstanceState, ...] = PAID) -> Ints:
    """How many instances are in some states at given times, (times,): from a state's start on, up to its end."""
    mine = np.isin(states["state"], of)
    began, ended = (np.searchsorted(np.sort(states[name][mine]), time_s, side="right") for name in ("start_s", "end_s"))
    return began - ended


def paid_until(states: States, time_s: Floats) -> Floats:
    """Instance-seconds paid from the start of the run to given times, (times,)."""
    mine = np.isin(states["state"], PAID)
    start_s, end_s = states["start_s"][mine, None], states["end_s"][mine, None]
    paid_s: Floats = np.clip(time_s[None, :] - start_s, 0.0, end_s - start_s).sum(axis=0)
    return paid_s


def changes(states: States) -> tuple[int, int]:
    """How many instances were started, and how many that started or were ready were told to go, before the end."""
    if not len(states["start_s"]):  # a run that ended when it began
        return 0, 0
    order = np.lexsort((states["start_s"], states["instance"]))
    number, state, start_s, end_s = (states[name][order] for name in ("instance", "state", "start_s", "end_s"))
    goes_on = (number[1:] == number[:-1]) & (start_s[1:] == end_s[:-1])  # or else it was off in between
    was_off = np.concatenate([[True], ~goes_on])
    next_state = np.concatenate([np.where(goes_on, state[1:], InstanceState.OFF), [InstanceState.OFF]])
    becomes_ready = (state == InstanceState.STARTING) & (next_state == InstanceState.READY)
    drained = state == InstanceState.DRAINING
    told_to_go = (end_s < end_s.max()) & ~becomes_ready & ~drained
    return int((was_off & (start_s > 0)).sum()), int(told_to_go.sum())
