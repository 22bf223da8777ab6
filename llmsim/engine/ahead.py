"""Asynchronous scheduling: the states of requests are one batch ahead of the GPU (async_loop.py).

When a batch starts, its tokens are counted at once, since the next batch is decided on them: it takes memory for the
tokens after these. Until the batch has ended, its tokens are *in flight*. A request keeps its seat and its blocks until
its last token is no longer in flight. If it ends by length, which its `max_tokens` tell in advance, it takes no part in
the next batch; if it ends by an end-of-sequence token, it does, and one token is computed in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isnan

from llmsim.engine.decode_batch import Batch
from llmsim.engine.journal import Journal, TokenTimes, one_token_less
from llmsim.engine.memory import CachingMemory, KVMemory
from llmsim.engine.request_states import RequestStates
from llmsim.engine.stretch import Stretch
from llmsim.engine.view import View
from llmsim.latency.contract import LatencyModel
from llmsim.request import NOT_YET_S, Outcome, Request, RequestView
from llmsim.scheduler import Decision
from llmsim.waiting import WaitingQueue

#: a request whose last token is in flight, and its token times if it has left the batch already
Ending = tuple[Request, TokenTimes | None]


NOTHING = (None, None)


class InFlight:
    """What the GPU computes at present, and what is to happen when it has."""

    __slots__ = (
        "before_s",
        "chunks",
        "computed",
        "decode_s",
        "ending",
        "ends_s",
        "handovers",
        "landed",
        "landing",
        "over",
        "step",
        "tokens",
        "until_s",
    )

    def __init__(self) -> None:
        self.ends_s = -inf  #: when the batch ends whose tokens are in flight
        self.step = 0  #: the count of decode steps up to it; 0: it does not decode
        self.tokens = 0  #: how many tokens will leave then
        self.decode_s = NOT_YET_S  #: when the decode step before ended
        self.before_s: dict[int, float] = {}  #: of requests: when their latest token was emitted, not in flight
        self.ending: dict[int, Ending] = {}  #: to be finished when the batch has ended
        self.handovers: dict[int, Request] = {}  #: to be handed over then
        self.landing: dict[int, Ending] = {}  #: those of `ending` for which it has
        self.chunks: dict[int, int] = {}  #: of prompts whose next chunks follow: request -> tokens up to here
        self.computed: dict[int, int] = {}  #: the same of prompts that are complete, in order of the batch
        self.landed: dict[int, int] = {}  #: those of `computed` whose batch has ended
        self.until_s = inf  #: the end of the run
        self.over = False  #: whether no step that could be decided ends within the run

    @property
    def pending(self) -> bool:
        """Whether anything is to happen when the batch has ended."""
        return bool(self.ending or self.handovers or self.computed)

    def rests(self, id: int) -> bool:
        """Whether a request takes no part in the next batch though it keeps its seat: its last token is in flight."""
        return id in self.handovers or self.ending.get(id, NOTHING)[1] is not None

    def decodes(self, request: Request) -> bool:
        """Whether a token of a request in the batch is in flight that follows on others of it."""
        counter = request.counter
        return counter is not None and counter.steps == self.step > request.joined_step

    def unknown(self, request: Request, ahead: int) -> int:
        """How many tokens of a request that decodes have a place in memory, and are in flight.

        `ahead`: steps that are decided beyond those that are counted.
        """
        if self.decodes(request) or (request.counter is None and request.id in self.before_s):
            return 1
        if request.head_s == self.ends_s:
            return min(ahead, 1)
        return int(ahead > 1)


class StatesAhead(RequestStates):
    """States of requests that count tokens in flight as emitted."""

    __slots__ = ("in_flight",)

    def __init__(
        self,
        waiting: WaitingQueue,
        memory: KVMemory,
        batch: Batch,
        journal: Journal,
        output_tokens: Sequence[int],
        policy: str,
    ) -> None:
        super().__init__(waiting, memory, batch, journal, output_tokens, policy)
        self.in_flight = InFlight()
        if self.cache is not None:
            self.cache.count_ahead(self._not_known_yet())

    def _not_known_yet(self) -> Callable[[Request, int], int]:
        """What tells how many tokens of a request are counted ahead that its cache does not know yet."""
        return self.in_flight.unknown

    def start(self, stretch: Stretch) -> None:
        """Let the last of these steps be in flight; all others have ended."""
        in_flight = self.in_flight
        in_flight.ends_s = stretch.end_s
        in_flight.step = 0
        in_flight.tokens = stretch.decoding
        in_flight.decode_s = self.last_decode_s
        in_flight.before_s = {}
        if stretch.decoding:
            in_flight.step = self.batch.counter.steps + stretch.steps
            if stretch.steps > 1:
                in_flight.decode_s = stretch.step_end_s(stretch.steps - 1)

    def land_later(self) -> dict[int, Request]:
        """Begin a step boundary: `land` is to finish what is ending; return what is to be handed over."""
        in_flight = self.in_flight
        in_flight.landing, in_flight.ending = in_flight.ending, {}
        handovers, in_flight.handovers = in_flight.handovers, {}
        in_flight.landed, in_flight.computed = in_flight.computed, {}
        return handovers

    def nothing_in_flight(self) -> None:
        """Note that all tokens that are counted have been emitted."""
        self.in_flight.step = 0
        self.in_flight.before_s = {}

    def complete_chunk(self, request: Request, tokens: int, token_gpu_s: float, sends: bool) -> bool:
        """Account for a chunk as if it were computed; a token that leaves with it is in flight."""
        before_s = request.last_token_s
        elsewhere = super().complete_chunk(request, tokens, token_gpu_s, sends)
        if request.id not in self.prefilling:
            self.in_flight.before_s[request.id] = before_s
            self.in_flight.tokens += 1
            if self.cache is not None and self.cache.learns_when_computed:
                self.in_flight.computed[request.id] = request.prefilled_tokens
        if elsewhere:
            self.in_flight.handovers[request.id] = request
            request.held = True
        return False  # it is handed over when the token has left

    def _computed(self, cache: CachingMemory, id: int, tokens: int) -> None:
        if id in self.prefilling:  # or else when its batch has ended: see `land`
            self.in_flight.chunks[id] = tokens

    def finish(self, id: int) -> None:
        """Keep a request whose last token is in flight until that has left."""
        in_flight = self.in_flight
        if id in in_flight.landing:
            return
        request, token_times = self.running[id], None
        if self._surely_ends(request):
            self._leave_batch(request)
            request.held = True
            token_times = self._journal.segments.pop()  # written when the last token has left
        in_flight.ending[id] = request, token_times

    def _surely_ends(self, request: Request) -> bool:
        """Whether the engine knows that a request ends whose last token is in flight."""
        return request.max_tokens == self.output_tokens[request.id]

    def hand_over(self, request: Request) -> None:
        """Let a request go that decodes elsewhere."""
        request.held = False
        super().hand_over(request)

    def _take_out(self, request: Request) -> None:
        if self.in_flight.handovers.pop(request.id, None) is not None:  # its token leaves all the same
            self._journal.segments.append((request.id, request.head_s, 0, 0))
            request.head_s = NOT_YET_S
        super()._take_out(request)

    def rests(self, id: int) -> bool:
        """Whether a running request, not held, takes no part in the next step: its last token is in flight."""
        return self.in_flight.rests(id)

    def _hold(self, id: int) -> None:
        if not self.in_flight.rests(id):
            super()._hold(id)

    def land(self) -> None:
        """Finish requests whose last token has been emitted by now; the cache learns of prompts, and then of chunks."""
        in_flight, cache = self.in_flight, self.cache
        landing, landed, chunks = in_flight.landing, in_flight.landed, in_flight.chunks
        in_flight.landing, in_flight.landed, in_flight.chunks = {}, {}, {}
        for id in [*(id for id in landing if id not in landed), *landed]:
            if id in landing:
                self._end(*landing[id])
            elif cache is not None and id in self.running:
                cache.computed(id, landed[id])
        if cache is not None:
            for id, tokens in chunks.items():
                cache.computed(id, tokens)

    def _end(self, request: Request, token_times: TokenTimes | None) -> None:
        in_vain = 0
        if request.counter is not None:  # ended by a token that the engine has only now seen
            in_vain = int(self.in_flight.decodes(request))
            self._leave_batch(request, in_vain)
        elif token_times is not None:
            self._journal.segments.append(token_times)
        self._withdraw_without(request, in_vain)
        self.end(request, Outcome.FINISHED, self.now_s)

    def carry_out(self, decision: Decision) -> None:
        """Move requests as decided; those that are preempted may lose a token in flight."""
        for id in decision.preempt if decision.loses_in_flight else ():
            self._lose_in_flight(self._known(id, "preempted"))
        super().carry_out(decision)

    def drop(self, request: Request, outcome: Outcome) -> None:
        """End a request before its time, now: a token in flight is never emitted."""
        self._withdraw_without(request, self._lose_in_flight(request))
        self.end(request, outcome, self.now_s)

    def _lose_in_flight(self, request: Request) -> int:
        """Take back what was counted of a token in flight, which is never emitted; return how many were in vain."""
        in_flight, segments, in_vain = self.in_flight, self._journal.segments, 0
        _, token_times = in_flight.ending.pop(request.id, (request, None))
        in_flight.handovers.pop(request.id, None)
        if in_flight.decodes(request):
            in_vain = 1
            self._leave_batch(request, in_vain)
        elif request.head_s > self.now_s:
            if request.counter is not None:
                self._leave_batch(request)
                segments.pop()
            self._take_back_head(request)
        elif token_times is not None:
            id, head_s, _, steps = token_times[:4]
            if steps == 0:
                self._take_back_head(request)
            else:
                in_flight.tokens -= 1
                request.emitted_before -= 1
                request.last_token_s = in_flight.before_s[id]
                in_vain = 1
                if steps > 1 or not isnan(head_s):
                    segments.append(one_token_less(token_times))
        return in_vain

    def _withdraw_without(self, request: Request, in_vain: int) -> None:
        """Take a request out; the keys and values of so many of its latest tokens are of no use to others."""
        kept = self.cache is not None and self.cache.keeps_in_vain
        if kept or not (in_vain and request.id in self.running):
            self.withdraw(request)
            return
        computed = request.prefilled_tokens
        self.memory.release_tail(computed, computed - in_vain)
        request.prefilled_tokens = computed - in_vain
        self.withdraw(request)
        request.prefilled_tokens = computed

    def _unknown(self, request: Request, granted: int) -> int:
        if request.id in self.prefilling:
            return 0
        return self.in_flight.unknown(request, granted)

    def _take_back_head(self, request: Request) -> None:
        self.in_flight.tokens -= 1
        request.emitted_before -= 1
        request.head_s = NOT_YET_S
        request.last_token_s = self.in_flight.before_s[request.id]
        if request.emitted_before == 0:
            request.first_token_s = NOT_YET_S

    def _leave_batch(self, request: Request, in_vain: int = 0) -> None:
        in_flight = self.in_flight
        if in_flight.decodes(request):
            assert request.counter is not None
            others = request.counter.steps - 1 > request.joined_step
            in_flight.before_s[request.id] = in_flight.decode_s if others else request.last_token_s
        super()._leave_batch(request, in_vain)
        if in_vain:
            in_flight.tokens -= 1
            request.last_token_s = in_flight.before_s[request.id]


class ViewAhead(View):
    """What a scheduler sees of such states."""

    __slots__ = ("_in_flight",)

    def __init__(self, states: StatesAhead, max_model_len: int, latency: LatencyModel) -> None:
        super().__init__(states, max_model_len, latency)
        self._in_flight = states.in_flight

    def tokens_in_flight(self, request: RequestView) -> int:
        """Tokens (0 or 1) of a running request that the GPU still computes."""
        in_flight, running = self._in_flight, self._requests.running.get(request.id)
        if running is None:
            return 0
        return int(request.id in in_flight.before_s or in_flight.decodes(running))

    def blocks_to_decode(self, request: RequestView) -> int:
        """KV blocks (0 or 1) that a decoding request takes in the next batch."""
        return 0 if self._in_flight.rests(request.id) else super().blocks_to_decode(request)

    def rests(self, request: RequestView) -> bool:
        """Whether a running request takes no part in the next batch: its last token is in flight."""
        return self._in_flight.rests(request.id)
