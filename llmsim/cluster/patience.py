"""Users that leave when a first or a next token has not come in time."""

from __future__ import annotations

from collections.abc import Callable
from math import isnan

from llmsim.cluster.clients import Clients
from llmsim.cluster.gateway import Entrance, NoLimit
from llmsim.engine.clock import LEAVING, Clock
from llmsim.engine.instance import Instance
from llmsim.request import NOT_YET_S, Outcome, Request
from llmsim.workload.patience import INFINITE_S, Patience

#: ends a request that has been on no instance: how, and the reason
TurnAway = Callable[[Request, Outcome, str], None]


class NoPatience:
    """Users that wait as long as it takes."""

    def sent(self, request: Request) -> None:
        """Do nothing when a request is sent."""

    def queued(self, request: Request, instance: Instance) -> None:
        """Do nothing when a request enters an engine's queue."""

    def placed(self, request: Request, instance: Instance) -> None:
        """Do nothing when an instance is picked for a request."""


class Impatience(NoPatience):
    """Watches every request in the system, and cancels it when its user's patience runs out."""

    def __init__(
        self, clock: Clock, patience: Patience, clients: Clients, entrance: Entrance | NoLimit, turn_away: TurnAway
    ) -> None:
        self._clock = clock
        self._patience = patience
        self._first_s = patience.first_token_s.data  # give plain numbers
        self._next_s = patience.next_token_s.data
        self._clients = clients
        self._entrance = entrance
        self._turn_away = turn_away
        self._instance: dict[int, Instance] = {}  # of each request in the system

    def placed(self, request: Request, instance: Instance) -> None:
        """Note the instance that a request is on, or on its way to."""
        self._instance[request.id] = instance

    def sent(self, request: Request) -> None:
        """Begin to watch a request that has just been sent, if it is still in the system."""
        self._look(request)

    def queued(self, request: Request, instance: Instance) -> None:
        """Cancel a request whose user left before it was in the engine's queue."""
        if request.left_s + self._patience.cancel_delay_s <= self._clock.now_s:
            instance.cancel(request.id)

    def ended(self, number: int, request: Request) -> None:
        """Stop watching a request that has ended."""
        self._instance.pop(request.id, None)

    def _look(self, request: Request) -> None:
        instance = self._instance.get(request.id)
        if instance is not None or request.id in self._entrance.waiting:
            self._watch(request, NOT_YET_S if instance is None else instance.last_token_s(request))

    def _watch(self, request: Request, last_s: float) -> None:
        """Let the user leave, or look again when patience may run out; `last_s`: its latest token, NaN if none."""
        now_s, first_s, next_s = self._clock.now_s, self._first_s[request.id], self._next_s[request.id]
        if isnan(last_s):
            ends_s = request.arrival_s + first_s
            look_s = min(ends_s, now_s + next_s)  # the first token may have come by then, and a gap begun
        else:
            look_s = ends_s = last_s + next_s
        if now_s >= ends_s:
            self._leave(request)
        elif look_s < INFINITE_S:
            look = self._clock.at(look_s, LEAVING)
            look.callbacks.append(lambda _: self._look(request))

    def _leave(self, request: Request) -> None:
        now_s, delay_s = self._clock.now_s, self._patience.cancel_delay_s
        request.left_s = now_s
        self._clients.left(request)
        if delay_s == 0:
            self._cancel(request)
        else:
            told = self._clock.at(now_s + delay_s, LEAVING)
            told.callbacks.append(lambda _: self._cancel(request))

    def _cancel(self, request: Request) -> None:
        """Tell the instance or the gateway that has a request that its user has left."""
        instance = self._instance.get(request.id)
        if instance is not None:
            instance.cancel(request.id)
        elif self._entrance.drop(request.id) is not None:
            self._turn_away(request, Outcome.CANCELLED, "")
