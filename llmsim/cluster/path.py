"""The way of a request through a cluster: from its client through the gateway to an instance, and its end.

client --send--> gateway's limit --admit--> router --way in--> engine's queue ... --ended--> client
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan

import numpy as np

from llmsim.cluster.admission import Door, OpenDoor
from llmsim.cluster.clients import ApiPath
from llmsim.cluster.dispatch import Dispatcher
from llmsim.cluster.fleet import NO_INSTANCE, Fleet
from llmsim.cluster.gateway import Entrance, NoLimit
from llmsim.cluster.patience import NoPatience
from llmsim.engine.clock import ARRIVAL, Clock
from llmsim.engine.instance import Instance
from llmsim.engine.recorder import Recorder
from llmsim.engine.request_states import CHANGED
from llmsim.errors import PolicyError
from llmsim.record import Floats
from llmsim.request import Outcome, Request
from llmsim.workload.contract import Workload

PROGRESS_EVERY = 256  #: requests


class Straight:
    """A way into engines that takes no time: requests enter the queue of their instance when it is picked."""

    def take(self, request: Request, instance: Instance) -> None:
        """Put a request into the queue of its instance."""
        instance.submit(request)

    def close(self) -> list[tuple[Request, Instance]]:
        """Return the requests on the way: none."""
        return []


class WayIn(Straight):
    """A way into engines that takes time, or whose end is not when the request was sent."""

    def __init__(self, clock: Clock, api: ApiPath, requests: int, patience: NoPatience) -> None:
        self._clock = clock
        self._api = api
        self._patience = patience
        self._under_way: dict[int, tuple[Request, Instance]] = {}
        self.queued_s: Floats = np.full(requests, np.nan)  #: when each entered its engine's queue; NaN: not yet

    def take(self, request: Request, instance: Instance) -> None:
        """Let a request enter the queue of its instance, at once or later."""
        if not self._api.way_in:
            self._enter(request, instance)
            return
        self._under_way[request.id] = (request, instance)
        there = self._clock.at(self._clock.now_s + self._api.way_in_s(request.prompt_tokens), ARRIVAL)
        there.callbacks.append(lambda _: self._arrive(request, instance))

    def _arrive(self, request: Request, instance: Instance) -> None:
        del self._under_way[request.id]
        self._enter(request, instance)
        self._patience.queued(request, instance)

    def _enter(self, request: Request, instance: Instance) -> None:
        self.queued_s[request.id] = self._clock.now_s
        instance.submit(request)

    def close(self) -> list[tuple[Request, Instance]]:
        """Return the requests that are on the way when the run ends."""
        return list(self._under_way.values())


class RequestPath:
    """Takes requests from clients to instances, and passes the news of their ends on."""

    door: Door | OpenDoor
    entrance: Entrance | NoLimit
    patience: NoPatience
    way_in: Straight

    def __init__(
        self, clock: Clock, attempts: Workload, recorder: Recorder, on_progress: Callable[[int], None] | None
    ) -> None:
        self._clock = clock
        self._prompt_tokens = np.asarray(attempts.prompt_tokens, dtype=np.int64).data  # gives plain ints
        self._tell = attempts.teller
        self._recorder = recorder
        self._on_progress = on_progress
        self._on_end: Sequence[Callable[[int, Request], None]] = ()
        self.location: dict[int, tuple[Fleet, int]] = {}  #: of an instance: its fleet, and its number in there
        self.ended = 0  #: requests so far

    def connect(
        self,
        entrance: Entrance | NoLimit,
        patience: NoPatience,
        way_in: Straight,
        arrivals: Dispatcher,
        on_end: Sequence[Callable[[int, Request], None]],
    ) -> None:
        """Set the parts that know this one; `on_end` are called with instance and request, in order."""
        self.entrance = entrance
        self.patience = patience
        self._watched = type(patience) is not NoPatience
        self.way_in = way_in
        self._straight = type(way_in) is Straight
        self._arrivals = arrivals
        self._on_end = on_end

    def place(self, fleet: Fleet) -> None:
        """Note the instances of a fleet."""
        self.location |= {instance.number: (fleet, n) for n, instance in enumerate(fleet.instances)}

    def send(self, request: Request) -> None:
        """Take a request from a client to an instance, through the gateway's door and limit, if there are any."""
        if self._tell is not None:
            self._tell(request)
        refused = self.door.refuse(request)
        if refused is not None:
            self.turn_away(request, Outcome.REJECTED, refused)
        elif not self.entrance.enter(request):
            full = f"{self.entrance.max_queue} requests wait at the gateway already"
            self.turn_away(request, Outcome.REJECTED, full)
        self.patience.sent(request)

    def turn_away(self, request: Request, outcome: Outcome, reason: str) -> None:
        """End a request that has been on no instance."""
        request.ended_as = outcome
        self._recorder.ended(request, NO_INSTANCE, self._clock.now_s, reason)
        self.end(NO_INSTANCE, request)

    def admit(self, request: Request) -> None:
        """Take a request to the instance that the router picks."""
        if self._tell is not None:
            self._tell(request)
        fleet, chosen = self._arrivals.fleet, self._arrivals.pick(request)
        fleet.sent(chosen, request.prompt_tokens)
        instance = fleet.instances[chosen]
        if self._watched:
            self.patience.placed(request, instance)
        if self._straight:
            instance.submit(request)
        else:
            self.way_in.take(request, instance)

    def move(self, request: Request, source: int, target: int) -> None:
        """Note that a request goes on at another instance, its prompt computed."""
        fleet, place = self.location[source]
        fleet.ended(place)
        fleet, place = self.location[target]
        fleet.sent(place, 0)
        self.patience.placed(request, fleet.instances[place])

    def end(self, number: int, request: Request) -> None:
        """Note that a request has ended, on an instance or before."""
        self.ended += 1
        if request.prompt_tokens != self._prompt_tokens[request.id]:
            self.check_unchanged(request)
        if self._on_progress is not None and self.ended % PROGRESS_EVERY == 0:
            self._on_progress(self.ended)
        if number != NO_INSTANCE:
            fleet, place = self.location[number]
            fleet.ended(place)
        for tell in self._on_end:
            tell(number, request)

    def check_unchanged(self, request: Request) -> None:
        """Raise `PolicyError` if a request is not what it came as: policies may only read it."""
        id, now = request.id, request.prompt_tokens
        given = self._prompt_tokens[id]
        if now != given:
            raise PolicyError(f"request {id} came with prompt_tokens = {given} and has {now}: {CHANGED}")

    def close(self, until_s: float, never_placed: Sequence[Request]) -> None:
        """When the run ends, count as unfinished what is on its way to an instance, or was never sent to one."""
        for request, instance in self.way_in.close():
            self._cut_off(request, instance.number, until_s)
            self.end(instance.number, request)
        for request in never_placed:
            self._cut_off(request, NO_INSTANCE, until_s)

    def _cut_off(self, request: Request, number: int, until_s: float) -> None:
        request.ended_as = Outcome.UNFINISHED if isnan(request.left_s) else Outcome.CANCELLED
        self._recorder.ended(request, number, until_s, "")
