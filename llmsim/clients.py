"""Clients: they send each request at its arrival, or later, when no more than so many may be in flight."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
import simpy

from llmsim.clock import ARRIVAL, Clock
from llmsim.errors import InputError
from llmsim.record import Floats, Ints
from llmsim.request import Request


@dataclass(frozen=True)
class ApiPath:
    """Seconds between a client and the engine: HTTP and tokenising on the way in, detokenising and streaming out.

    In vLLM an API server does both, in a process of its own beside the engine: it takes time of every request, none
    of the engine's steps. Way out: each token reaches the client `response_s` after it was emitted.
    """

    request_s: float = 0.0
    prompt_token_s: float = 0.0  #: on the way in, for each token of the prompt
    response_s: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"host {name} = {value}, expected seconds, not negative")

    def way_in_s(self, prompt_tokens: int) -> float:
        """From sending a request to its entering the engine's queue."""
        return self.request_s + self.prompt_token_s * prompt_tokens


DIRECT = ApiPath()


class Clients:
    """The clients of one run: they send requests in order of arrival.

    `max_in_flight` is a semaphore in front of the API, first come first served, as `--max-concurrency` of vLLM's
    benchmark: a request holds it from its sending until the client has its last token, or leaves. All requests ready
    at time 0 behind it are closed-loop clients. Who gives a slot back at a step's end fills it at the same time.
    """

    def __init__(
        self,
        clock: Clock,
        arrival_s: Floats,
        prompt_tokens: Ints,
        send: Callable[[Request], None],
        *,
        max_in_flight: int | None = None,
        response_s: float = 0.0,
    ) -> None:
        self._clock = clock
        self._arrival_s = arrival_s
        self._prompt_tokens = prompt_tokens
        self._send = send
        self._response_s = response_s
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._ready: deque[Request] = deque()  # behind the semaphore
        self._sending = False
        #: (requests,) when each was sent; NaN: not yet
        self.sent_s: Floats = arrival_s if max_in_flight is None else np.full(len(arrival_s), np.nan)
        clock.process(self._arrivals())

    def _arrivals(self) -> Generator[simpy.Event, None, None]:
        """Let every request become ready at its time of arrival."""
        asked = zip(self._arrival_s.tolist(), self._prompt_tokens.tolist(), strict=True)
        for id, (arrival_s, prompt_tokens) in enumerate(asked):
            if arrival_s > self._clock.now:
                yield self._clock.at(arrival_s, ARRIVAL)
            request = Request(id, arrival_s, prompt_tokens)
            if self._max_in_flight is None:
                self._send(request)
            else:
                self._ready.append(request)
                self._send_ready()

    def ended(self, request: Request) -> None:
        """Note that the engine is done with a request; its client has the last token `response_s` later."""
        if self._max_in_flight is None or not math.isnan(request.left_s):
            return
        if self._response_s == 0:
            self.give_back()
        else:
            received = self._clock.at(self._clock.now + self._response_s, ARRIVAL)
            received.callbacks.append(lambda _: self.give_back())

    def left(self) -> None:
        """Note that the client of a request has closed its connection."""
        if self._max_in_flight is not None:
            self.give_back()

    def give_back(self) -> None:
        """Let somebody else through the semaphore."""
        self._in_flight -= 1
        self._send_ready()

    def _send_ready(self) -> None:
        """Send while the semaphore lets through. A request refused at once comes back here: the loop goes on."""
        if self._sending or self._max_in_flight is None:
            return
        self._sending = True
        while self._ready and self._in_flight < self._max_in_flight:
            request = self._ready.popleft()
            request.arrival_s = self.sent_s[request.id] = self._clock.now
            self._in_flight += 1
            self._send(request)
        self._sending = False

    def close(self) -> list[Request]:
        """Send no more; return the requests that were never sent."""
        self._sending = True
        return list(self._ready)
