"""Users: what follows when a request has ended: the next turn, the next conversation, another attempt, or nothing."""

from __future__ import annotations

import numpy as np

from llmsim.record import Ints
from llmsim.request import FINISHED, Outcome
from llmsim.workload.quality import Escalation
from llmsim.workload.retries import Retries
from llmsim.workload.sessions import NO_REQUEST, Sessions


class Users:
    """The users of one run.

    With n attempts at most, attempt a at request i of the workload has the id i n + a: its length, its user's patience
    and its prefix are those of the request. So the numbers of a user that never tries again do not depend on others'.
    """

    def __init__(
        self, requests: int, sessions: Sessions | None, retries: Retries | None, escalation: Escalation | None = None
    ) -> None:
        self.attempts = max(each.attempts if each else 1 for each in (retries, escalation))
        self._fails = [] if escalation is None else escalation.fails[:requests].tolist()
        self._judge_s = 0.0 if escalation is None else escalation.judge_s
        self._on = frozenset[Outcome]() if retries is None else retries.on
        self._backoff_s = [] if retries is None else retries.backoff_s[:requests].tolist()
        self._following: list[int] = []
        if sessions is None:
            self.by_themselves: Ints = np.arange(requests) * self.attempts  #: ids whose time of arrival is known
        else:
            following = sessions.following[:requests]
            self._following = np.where(following < requests, following, NO_REQUEST).tolist()
            self._think_s = sessions.think_s[:requests].tolist()
            self._conversation = sessions.conversation[:requests].tolist()
            self.by_themselves = np.flatnonzero(sessions.after[:requests] == NO_REQUEST) * self.attempts

    @property
    def wait_for_ends(self) -> bool:
        """Whether any request follows on the end of another one."""
        return bool(self._following) or self.attempts > 1

    def follows(self, id: int, outcome: Outcome) -> tuple[int, float] | None:
        """Return `(id, delay_s)` of the request that this one's outcome triggers, or None.

        That is the same at the next model of a cascade, a retry, or the next turn.
        """
        request, attempt = divmod(id, self.attempts)
        more = attempt + 1 < self.attempts
        if more and self._fails and outcome is FINISHED and self._fails[request][attempt]:
            return id + 1, self._judge_s
        if more and outcome in self._on:
            return id + 1, self._backoff_s[request][attempt]
        if not self._following:
            return None
        following = self._following[request]
        if outcome is not FINISHED:  # the turns that are left are never sent
            ended = self._conversation[request]
            while following != NO_REQUEST and self._conversation[following] == ended:
                following = self._following[following]
        return None if following == NO_REQUEST else (following * self.attempts, self._think_s[following])
