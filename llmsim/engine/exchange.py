"""Prefill here, decode there: how the keys and values of a prompt get from one instance to another.

An instance for *prefill* computes prompts and emits their first tokens. It then offers each request to an instance for
*decode*, which takes it at a step boundary, in order of arrival and behind those that it has preempted itself, as soon
as it has a seat and the memory: it then reads the keys and values over the network, and the request decodes from the
next boundary on. Until they have been read, they stay in the memory of the sender (DistServe, OSDI '24, section 4.3:
the decode side pulls, so that the memory of the prefill side is the queue between the two).

Every instance of a disaggregated cluster has an `Exchange`; a cluster that is not disaggregated has none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Literal, Protocol

from llmsim.engine.clock import ARRIVAL, Clock
from llmsim.engine.recorder import Recorder
from llmsim.engine.request_states import RequestStates
from llmsim.errors import InputError
from llmsim.request import NOT_YET_S, Request, Role
from llmsim.router import Router

#: what becomes of a request for which the decode side has no room: it waits there, its sender keeping the keys and
#: values; it is computed again there, when there is room; or its sender decodes it
WhenFull = Literal["wait", "recompute", "fall_back"]


@dataclass(frozen=True)
class Link:
    """The network between instances: each sends, and each receives, one request's keys and values at a time."""

    bandwidth_bytes_per_s: float
    latency_s: float = 0.0  #: from asking for the first byte to having it
    #: more than 1: a layer is sent while the next ones are computed, so that only what is left then takes time after
    #: the prefill; the last layer at least
    overlapped_layers: int = 1

    def __post_init__(self) -> None:
        if not (isfinite(self.bandwidth_bytes_per_s) and self.bandwidth_bytes_per_s > 0):
            raise InputError(f"bandwidth is {self.bandwidth_bytes_per_s} bytes/s, expected more than 0")
        if not (isfinite(self.latency_s) and self.latency_s >= 0):
            raise InputError(f"latency_s is {self.latency_s}, expected seconds, not negative")
        if self.overlapped_layers < 1:
            raise InputError(f"overlapped_layers is {self.overlapped_layers}, expected at least 1")

    def transfer_s(self, bytes: int, prefill_s: float) -> float:
        """How long the link is busy once a prefill of `prefill_s` has ended."""
        whole_s = bytes / self.bandwidth_bytes_per_s
        if self.overlapped_layers == 1:
            return whole_s
        return max(whole_s / self.overlapped_layers, whole_s - prefill_s)


@dataclass(frozen=True)
class Disaggregation:
    """How the instances of a cluster with roles work together."""

    link: Link
    kv_bytes_per_token: int  #: keys and values of one token, over all layers and GPUs
    router: Router  #: picks the instance that decodes
    when_full: WhenFull = "wait"


class Network:
    """Transfers between instances, first come first served at both ends."""

    def __init__(self, clock: Clock, link: Link) -> None:
        self._clock = clock
        self._link = link
        self._sender_free_s: dict[int, float] = {}
        self._receiver_free_s: dict[int, float] = {}

    def send(self, source: int, target: int, bytes: int, prefill_s: float) -> tuple[float, float]:
        """Occupy the link; return when the transfer starts and when all of it is there."""
        start_s = max(self._clock.now_s, self._sender_free_s.get(source, 0.0), self._receiver_free_s.get(target, 0.0))
        sent_s = start_s + self._link.transfer_s(bytes, prefill_s)
        self._sender_free_s[source] = self._receiver_free_s[target] = sent_s
        return start_s, sent_s + self._link.latency_s


@dataclass(eq=False, slots=True)
class Handover:
    """A request between two instances."""

    request: Request
    source: Exchange
    target: Exchange
    tokens: int  #: whose keys and values the source has
    offered_s: float
    start_s: float = NOT_YET_S  #: when its transfer began
    end_s: float = NOT_YET_S
    bytes: int = 0
    dropped: bool = False  #: it has ended while under way


class Peer(Protocol):
    """What an exchange needs of the instance that it belongs to."""

    clock: Clock
    number: int
    states: RequestStates

    @property
    def most_running(self) -> int | None:
        """Most requests that its scheduler lets run at once; None: no such limit."""

    def reschedule(self) -> None:
        """Decide anew at the next step boundary: something has changed."""

    def cancel(self, id: int) -> None:
        """Take a request out at the next step boundary: its user has left."""

    def why_never(self, request: Request) -> str | None:
        """Return why a request can never be served there, or None."""

    def reject(self, request: Request, reason: str) -> None:
        """End a request that can never be served there."""


class Exchange:
    """What one instance has to do with the others. Everything that it changes, it changes at a step boundary."""

    def __init__(
        self,
        instance: Peer,
        role: Role,
        *,
        network: Network,
        rules: Disaggregation,
        choose: Callable[[Request], Exchange],
        on_moved: Callable[[Request, int, int], None],
        recorder: Recorder,
    ) -> None:
        self.instance = instance
        self.sends = role == "prefill"
        self._network = network
        self._kv_bytes_per_token = rules.kv_bytes_per_token
        self._when_full = rules.when_full
        self._choose = choose
        self._on_moved = on_moved
        self._recorder = recorder
        self.outgoing: dict[int, Handover] = {}  # computed here, and in memory here until they are read
        self.offered: OrderedDict[int, Handover] = OrderedDict()  # waiting for memory here
        self.incoming: dict[int, Handover] = {}  # have memory here, under way
        # what has happened since the last boundary: requests that were read from here, came back, have arrived
        self._read: list[Handover] = []
        self._returned: list[Handover] = []
        self._arrived: list[Handover] = []

    # At a step boundary ------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Apply transfers that have completed, then take in offered requests while KV blocks and seats allow."""
        self._release_read()
        for handover in self._returned:
            del self.outgoing[handover.request.id]
            self.instance.states.take_over(handover.request)
        self._returned.clear()
        self._land()
        while self.offered:
            handover = next(iter(self.offered.values()))
            room = self._has_room(handover)
            if not room and self._when_full == "wait":
                return
            del self.offered[handover.request.id]
            if room:
                self._fetch(handover)
            else:
                self._send_away(handover)
            self._land()  # what took no time at all

    def _release_read(self) -> None:
        for handover in self._read:
            del self.outgoing[handover.request.id]
            self.instance.states.memory.release(handover.request.id, handover.tokens)
        self._read.clear()

    def _land(self) -> None:
        """Let requests decode whose keys and values are here."""
        states = self.instance.states
        for handover in self._arrived:
            del self.incoming[handover.request.id]
            if handover.dropped:
                states.memory.release(handover.request.id, handover.tokens)
            else:
                self._note(handover, states.now_s)
                states.take_over(handover.request)
        self._arrived.clear()

    def _has_room(self, handover: Handover) -> bool:
        """Whether a request gets a seat, and memory for all it has and its next token, beside the decoding ones."""
        states, seats = self.instance.states, self.instance.most_running
        if states.waiting or (seats is not None and len(states.running) + len(self.incoming) >= seats):
            return False
        blocks = states.memory.blocks_for(handover.tokens + 1)
        return blocks + states.batch.blocks_needed() <= states.memory.free_blocks

    def _fetch(self, handover: Handover) -> None:
        """Take memory for a request and start the transfer."""
        instance, request, source = self.instance, handover.request, handover.source
        found = instance.states.reserve(request.id, handover.tokens)
        handover.bytes = (handover.tokens - found) * self._kv_bytes_per_token
        handover.start_s, handover.end_s = self._network.send(
            source.instance.number, instance.number, handover.bytes, handover.offered_s - request.first_scheduled_s
        )
        self.incoming[request.id] = handover
        if handover.end_s <= instance.states.now_s:
            self._complete(handover)
        else:
            there = instance.clock.at(handover.end_s, ARRIVAL)
            there.callbacks.append(lambda _: self._complete(handover))

    def _send_away(self, handover: Handover) -> None:
        """There is no room for a request, and it does not wait."""
        request, source = handover.request, handover.source
        self._note(handover, NOT_YET_S)
        if self._when_full == "fall_back":
            self._on_moved(request, self.instance.number, source.instance.number)
            source.take_back(handover)
            return
        source.let_go(handover)
        self.instance.states.forget_computed(request)
        self.instance.states.enqueue(request)

    # At any time -------------------------------------------------------------------------------------------

    def hand_over(self, request: Request) -> None:
        """Offer a request whose prefill has just ended here to an instance for decode."""
        instance, target = self.instance, self._choose(request)
        handover = Handover(request, self, target, request.prefilled_tokens, instance.states.now_s)
        self.outgoing[request.id] = handover
        self._on_moved(request, instance.number, target.instance.number)
        target.offer(handover)

    def offer(self, handover: Handover) -> None:
        """Take note of a request that another instance has computed, send it back, or reject it."""
        reason = self.instance.why_never(handover.request)
        if reason is None:
            self.offered[handover.request.id] = handover
            self.instance.reschedule()
        elif self._when_full == "fall_back":  # the other instance has room for all of it, or it had rejected it
            self._send_away(handover)
        else:
            handover.source.let_go(handover)
            self.instance.reject(handover.request, reason)

    def take_back(self, handover: Handover) -> None:
        """Decode a request here that was offered elsewhere, where there was no room for it."""
        self._returned.append(handover)
        self.instance.reschedule()

    def let_go(self, handover: Handover) -> None:
        """Give back the memory of a request that was read, or is not wanted any more."""
        self._read.append(handover)
        self.instance.reschedule()

    def _complete(self, handover: Handover) -> None:
        handover.source.let_go(handover)
        self._arrived.append(handover)
        self.instance.reschedule()

    # When a request, or the run, ends ----------------------------------------------------------------------

    def drop(self, id: int) -> Request | None:
        """Forget a request that has left and is on its way here, or back; return it, or None if there is none.

        If it is on its way elsewhere, that instance is told.
        """
        handover = self.offered.pop(id, None)
        if handover is not None:
            handover.source.let_go(handover)
            self._note(handover, NOT_YET_S)
            return handover.request
        handover = self.incoming.get(id)
        if handover is not None:
            handover.dropped = True  # its memory here comes back when the transfer is over
            self._note(handover, NOT_YET_S)
            return handover.request
        handover = self.outgoing.get(id)
        if handover is None:
            return None
        if handover not in self._returned:
            handover.target.instance.cancel(id)
            return None
        self._returned.remove(handover)
        self._read.append(handover)
        return handover.request

    def close(self) -> list[Request]:
        """Return the requests on their way here, or back, when the run ends."""
        coming = [handover for handover in (*self.offered.values(), *self.incoming.values()) if not handover.dropped]
        for handover in coming:
            self._note(handover, NOT_YET_S)
        return [handover.request for handover in (*self._returned, *coming)]

    def _note(self, handover: Handover, joined_s: float) -> None:
        self._recorder.transfer(
            handover.request.id,
            handover.source.instance.number,
            self.instance.number,
            handover.offered_s,
            handover.start_s,
            handover.end_s,
            joined_s,
            handover.tokens,
            handover.bytes,
        )
