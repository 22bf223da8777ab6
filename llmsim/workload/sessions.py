"""Sessions: requests that wait for the end of another one, because one user sends both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError

NO_REQUEST = -1
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sessions:
    """Which request waits for which; all arrays have shape (requests,).

    A request that comes after another one arrives `think_s` after its user has the last token of that one. Requests of
    one conversation are its turns: where a turn fails, the conversation ends, and the turns that are left are never
    sent. A request that comes after one of another conversation begins a new one of the same user, however the last
    one ended.
    """

    after: Ints  #: the request whose end it waits for, an earlier one, and no other's; NO_REQUEST: comes by itself
    think_s: NDArray[np.float64]  #: from that end to its arrival
    conversation: Ints  #: a number for each conversation, whose turns follow each other

    def __post_init__(self) -> None:
        n = len(self.after)
        if not len(self.think_s) == len(self.conversation) == n:
            raise InputError("sessions: columns differ in length")
        if not (np.isfinite(self.think_s) & (self.think_s >= 0)).all():
            raise InputError("sessions: think_s must be finite and not negative")
        late = np.flatnonzero((self.after < NO_REQUEST) | (self.after >= np.arange(n)))
        if len(late):
            raise InputError(f"sessions: request {late[0]} comes after {self.after[late[0]]}, expected an earlier one")
        waited_for = self.after[self.after != NO_REQUEST]
        if len(np.unique(waited_for)) < len(waited_for):
            raise InputError("sessions: two requests come after the same one")
        order = np.argsort(self.conversation, kind="stable")
        inner = np.flatnonzero(np.diff(self.conversation[order]) == 0) + 1
        if (self.after[order[inner]] != order[inner - 1]).any():
            raise InputError("sessions: the turns of a conversation must follow each other")

    def __len__(self) -> int:
        return len(self.after)

    @cached_property
    def turn(self) -> Ints:
        """Place of each request in its conversation, from 0."""
        order = np.argsort(self.conversation, kind="stable")
        _, first = np.unique(self.conversation[order], return_index=True)
        counts = np.diff([*first, len(order)])
        turn = np.empty(len(order), dtype=np.int64)
        turn[order] = np.arange(len(order)) - np.repeat(first, counts)
        return turn

    @cached_property
    def turns(self) -> Ints:
        """How many turns the conversation of each request has, if none fails."""
        _, number, counts = np.unique(self.conversation, return_inverse=True, return_counts=True)
        turns: Ints = counts[number]
        return turns

    @cached_property
    def following(self) -> Ints:
        """The request that waits for each one; NO_REQUEST: none."""
        following = np.full(len(self), NO_REQUEST)
        waits = np.flatnonzero(self.after != NO_REQUEST)
        following[self.after[waits]] = waits
        return following
