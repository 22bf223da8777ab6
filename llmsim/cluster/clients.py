"""Clients: they send each request at its arrival, or later, when no more than so many may be in flight.

A request arrives at a time known in advance, or when its user has been answered, or has failed (`users`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import simpy

from llmsim.cluster.users import Users
from llmsim.engine.clock import ARRIVAL, Clock
from llmsim.errors import InputError
from llmsim.record import Floats, Ints
from llmsim.request import Outcome, Request

ARRIVALS_AT_ONCE = 4096  #: of which times are made Python's numbers: of a million they would take some 60 MB


@dataclass(frozen=True)
class ApiPath:
    """What stands between clients and engines, API server or gateway: HTTP, tokenising, detokenising, streaming.

    It takes time of every request, none of the engine's steps. In: a request passes the limit (`gateway.Entrance`) and
    `way_in_s`. Out: the sender of its instance handles each token (`gateway.SenderQueue`), which reaches the client
    `response_s` later. Users' patience is measured by tokens as they are emitted.
    """

    request_s: float = 0.0
    prompt_token_s: float = 0.0  #: on the way in, for each token of the prompt
    response_s: float = 0.0
    output_token_s: float = 0.0  #: of the instance's sender, for each token on the way out, one after the other
    max_concurrency: int | None = None  #: most requests that the gateway lets through at once; None: no limit
    max_queue: int | None = None  #: most requests that wait for that, before others are rejected; None: no limit

    def __post_init__(self) -> None:
        for name in ("request_s", "prompt_token_s", "response_s", "output_token_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"host {name} = {value}, expected seconds, not negative")
        if self.max_concurrency is not None and self.max_concurrency < 1:
            raise InputError(f"gateway max_concurrency = {self.max_concurrency}, expected at least 1")
        if self.max_queue is not None and (self.max_concurrency is None or self.max_queue < 0):
            raise InputError(f"gateway max_queue = {self.max_queue}, expected at least 0, beside max_concurrency")

    @cached_property
    def way_in(self) -> bool:
        """Whether a request takes any time on its way in."""
        return self.request_s > 0 or self.prompt_token_s > 0

    def way_in_s(self, prompt_tokens: int) -> float:
        """From sending a request to its entering the engine's queue."""
        return self.request_s + self.prompt_token_s * prompt_tokens


DIRECT = ApiPath()


class Clients:
    """The clients of one run: they send requests in order of arrival, and act for their users when one has ended.

    `max_in_flight` is a semaphore in front of the API, first come first served, as `--max-concurrency` of vLLM's
    benchmark: a request holds it from its sending until the client has its last token, or leaves. All requests ready
    at time 0 behind it are closed-loop clients. A slot that is given back at a step's end is filled at the same time.
    """

    def __init__(
        self,
        clock: Clock,
        arrival_s: Floats,
        prompt_tokens: Ints,
        send: Callable[[Request], None],
        users: Users,
        *,
        max_in_flight: int | None = None,
    ) -> None:
        self._clock = clock
        self._arrival_s = cast("memoryview[float]", arrival_s.data)  # gives plain floats
        self._prompt_tokens = np.asarray(prompt_tokens, dtype=np.int64).data  # gives plain ints, and copies nothing
        self._send = send
        self._users = users
        self._max_in_flight = max_in_flight
        self.act = max_in_flight is not None or users.wait_for_ends  # on the end of a request
        self._in_flight = 0
        self._ready: deque[Request] = deque()  # behind the semaphore
        self._sending = False
        self._closed = False
        self.arrived = 0  #: requests so far
        #: (requests,) when each was sent; NaN: not yet
        self.sent_s: Floats = arrival_s if max_in_flight is None else np.full(len(arrival_s), np.nan)
        clock.process(self._arrivals())

    def _arrivals(self) -> Generator[simpy.Event, None, None]:
        """Let every request arrive at its time that does not follow on another one."""
        clock, all_ids, all_s = self._clock, self._users.by_themselves, np.asarray(self._arrival_s)
        for first in range(0, len(all_ids), ARRIVALS_AT_ONCE):
            ids = all_ids[first : first + ARRIVALS_AT_ONCE]
            for id, arrival_s in zip(ids.tolist(), all_s[ids].tolist(), strict=True):
                if arrival_s > clock.now_s and not clock.passes_to(arrival_s, ARRIVAL):
                    yield clock.at(arrival_s, ARRIVAL)
                self._arrive(id, arrival_s)

    def _arrive(self, id: int, arrival_s: float) -> None:
        """Send a request, or let it wait for the semaphore."""
        self.arrived += 1
        request = Request(id, arrival_s, self._prompt_tokens[id])
        if self._max_in_flight is None:
            self._send(request)
        else:
            self._ready.append(request)
            self._send_ready()

    def ended(self, request: Request, received_s: float) -> None:
        """Note that the engine is done with a request; its client has the last token at `received_s`."""
        if not self.act or self._closed or not math.isnan(request.left_s):
            return
        if received_s <= self._clock.now_s:
            self._over(request.id, request.ended_as)
        else:
            received = self._clock.at(received_s, ARRIVAL)
            received.callbacks.append(lambda _: self._over(request.id, request.ended_as))

    def left(self, request: Request) -> None:
        """Note that the client of a request has closed its connection."""
        if self.act:
            self._over(request.id, Outcome.CANCELLED)

    def _over(self, id: int, outcome: Outcome) -> None:
        """A request has ended: schedule its follow-up (next turn or retry) and release its slot of `max_in_flight`."""
        follows = self._users.follows(id, outcome) if self._users.wait_for_ends else None
        if follows is not None:
            self._schedule(*follows)
        if self._max_in_flight is not None:
            self._in_flight -= 1
            self._send_ready()

    def _schedule(self, id: int, later_s: float) -> None:
        """Let a request arrive so much later, or at its own time if that is later still."""
        now_s = self._clock.now_s
        arrival_s = self._arrival_s[id] = max(now_s + later_s, self._arrival_s[id])
        if arrival_s == now_s:
            self._arrive(id, arrival_s)
        else:
            arrives = self._clock.at(arrival_s, ARRIVAL)
            arrives.callbacks.append(lambda _: self._arrive(id, arrival_s))

    def _send_ready(self) -> None:
        """Send while the semaphore lets through. A request refused at once comes back here: the loop goes on."""
        if self._sending or self._max_in_flight is None:
            return
        self._sending = True
        while self._ready and self._in_flight < self._max_in_flight:
            request = self._ready.popleft()
            request.arrival_s = self.sent_s[request.id] = self._clock.now_s
            self._in_flight += 1
            self._send(request)
        self._sending = False

    def close(self) -> list[Request]:
        """Send no more; return the requests that arrived and were never sent."""
        self._closed = True
        return list(self._ready)
