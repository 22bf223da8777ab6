"""What a scheduler sees of an instance (`scheduler.InstanceView`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from math import inf
from typing import Any

from llmsim.engine.memory import NO_CACHE
from llmsim.engine.request_states import RequestStates
from llmsim.errors import PolicyError
from llmsim.latency.contract import Chunk, LatencyModel
from llmsim.request import Request, RequestView
from llmsim.scheduler import NO_CHUNKS, Admission, Beginnings
from llmsim.waiting import WaitingQueue


class Limits:
    """What never changes about an instance (`scheduler.InstanceLimits`)."""

    __slots__ = ("block_tokens", "caches_prefixes", "max_model_len", "total_blocks")

    def __init__(self, block_tokens: int, max_model_len: int, total_blocks: int, *, caches_prefixes: bool) -> None:
        self.caches_prefixes = caches_prefixes
        self.block_tokens = block_tokens
        self.max_model_len = max_model_len
        self.total_blocks = total_blocks

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_tokens)


class OnlyLimits(Limits):
    """Static limits for `why_never`; any other attribute raises `PolicyError`."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python asks, not a policy
            raise AttributeError(name)
        known = ", ".join((*Limits.__slots__, "blocks_for"))
        raise PolicyError(f"why_never reads {name} of an instance, expected one of its limits: {known}")


@dataclass(frozen=True, slots=True)
class ByState:
    """The requests of an instance by the state that they are in, and by id: always as they are."""

    waiting: WaitingQueue
    running: dict[int, Request]
    prefilling: Mapping[int, Request]
    decoding: Mapping[int, Request]
    held: Mapping[int, Request]


class View(Limits):
    """An instance as of its last step boundary. The truth cannot be reached from here."""

    __slots__ = (
        "_asked",
        "_cache",
        "_latency",
        "_requests",
        "decode_blocks",
        "decode_steps",
        "free_blocks",
        "notes",
        "now_s",
        "num_decoding",
        "num_prefilling",
        "num_running",
        "num_waiting",
        "worked_until_s",
    )

    _asked: Admission | None  #: of a step in which nothing is admitted
    query_tokens: int = 1

    def __init__(self, states: RequestStates, max_model_len: int, latency: LatencyModel) -> None:
        self._latency = latency
        self.notes: object = None  # what the scheduler's latest decision noted for its next one
        self.worked_until_s = -inf  # when the latest step of any kind ended
        self._cache = states.cache
        decoding = states.batch.members
        self._requests = ByState(states.waiting, states.running, states.prefilling, decoding, states.held)
        memory = states.memory
        cached = states.cache is not None
        super().__init__(memory.block_tokens, max_model_len, memory.total_blocks, caches_prefixes=cached)
        self.updated(states)

    def updated(self, states: RequestStates) -> View:
        """Read the states at a step boundary."""
        batch, held = states.batch, states.held
        self.now_s = states.now_s
        if self._cache is not None:
            self._asked = None
            self._cache.ask()
        self.decode_steps = batch.counter.steps
        self.num_waiting = len(states.waiting)
        self.num_prefilling = len(states.prefilling)
        self.num_running = len(states.running)
        self.free_blocks = states.memory.free_blocks
        self.num_decoding = batch.sequences
        self.decode_blocks = batch.blocks_needed()
        if held:
            self.num_decoding += len(held)
            self.decode_blocks += held.blocks_needed
        return self

    @property
    def waiting(self) -> Iterable[RequestView]:
        return self._requests.waiting.values()

    @property
    def prefilling(self) -> Iterable[RequestView]:
        return self._requests.prefilling.values()

    @property
    def running(self) -> Iterable[RequestView]:
        return self._requests.running.values()

    @property
    def decoding(self) -> Iterable[RequestView]:
        return self._requests.decoding.values()

    @property
    def held(self) -> Set[int]:
        return self._requests.held.keys()

    @property
    def running_latest_first(self) -> Iterable[RequestView]:
        return reversed(self._requests.running.values())

    def step_time_s(
        self,
        prefill: Sequence[Chunk],
        decoding: int,
        context_tokens: int,
        drafts: Mapping[int, int] = NO_CHUNKS,
    ) -> float:
        if any(drafts):
            raise PolicyError(f"asks for step times with drafts = {dict(drafts)}, and nothing is drafted here")
        return self._latency.step_time_s(prefill, decoding, context_tokens)

    def blocks_held(self, request: RequestView) -> int:
        return self.blocks_for(request.computed_tokens)

    def blocks_freed(self, victims: Sequence[RequestView]) -> int:
        if self._cache is None:
            return sum(map(self.blocks_held, victims))
        return self._cache.freed_by({request.id: request.computed_tokens for request in victims})

    def admission(self, prefill: Mapping[int, int] = NO_CHUNKS, decode: bool = True) -> Admission:
        if self._cache is None:
            return NO_CACHE
        chunks = [(self._requests.prefilling[id], tokens) for id, tokens in prefill.items()]
        return self._cache.admission(chunks, self.decode_blocks, decode)

    def cached_tokens(self, request: RequestView, tokens: int | None = None) -> int:
        if self._cache is None:
            return 0
        if tokens is not None:
            return self._cache.cached_blocks(request.id, tokens + 1) * self.block_tokens
        if self._asked is None:
            self._asked = self.admission()
        return self._asked.found(request)[0]

    def beginnings(self) -> Beginnings:
        return NO_CACHE if self._cache is None else self._cache.beginnings()

    def tokens_in_flight(self, request: RequestView) -> int:
        return 0

    def blocks_to_decode(self, request: RequestView) -> int:
        if request.tokens_to_prefill:
            return 0
        return 1 if request.computed_tokens % self.block_tokens == 0 else 0

    def rests(self, request: RequestView) -> bool:
        return False
