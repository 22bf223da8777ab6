"""The main loop where the number of drafted tokens changes, and what a scheduler sees of requests that speculate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmsim.engine.loop import Loop
from llmsim.engine.request_states import RequestStates
from llmsim.engine.speculation.blocks import Reservation
from llmsim.engine.speculation.rule import Speculation
from llmsim.engine.speculation.states import Speculating
from llmsim.engine.view import View
from llmsim.errors import PolicyError
from llmsim.latency.contract import Chunk
from llmsim.request import RequestView
from llmsim.scheduler import NO_CHUNKS, Decision


class SpeculatingView(View):
    """What a scheduler sees of such states; whether they are ahead of the GPU or not."""

    _reservation: Reservation  #: and not the states: the truth could be reached from there
    _rule: Speculation

    def updated(self, states: RequestStates) -> View:
        """Read the states at a step boundary."""
        assert isinstance(states, Speculating)
        self._reservation, self._rule = states.batch.reservation, states.rule
        states.settle()
        self.query_tokens = 1 + states.batch.drafts
        super().updated(states)
        if states.held:
            self.decode_blocks = states.batch.blocks_needed() + sum(map(self.blocks_to_decode, states.held.values()))
        return self

    def step_time_s(
        self,
        prefill: Sequence[Chunk],
        decoding: int,
        context_tokens: int,
        drafts: Mapping[int, int] = NO_CHUNKS,
    ) -> float:
        """Seconds that a step takes in which so many sequences draft so many tokens."""
        if not any(drafts):
            return super().step_time_s(prefill, decoding, context_tokens)
        rule = self._rule
        if drafts.keys() - rule.latency.keys() or (len(drafts) > 1 and rule.mixed is None):
            known = ", ".join(map(str, sorted(rule.latency)))
            raise PolicyError(f"asks for step times with drafts = {dict(drafts)}, expected one number, of {known}")
        return rule.step_times(drafts).step_time_s(prefill, decoding, context_tokens)

    def blocks_held(self, request: RequestView) -> int:
        """KV blocks that a request holds, alone or with others."""
        running = self._requests.running.get(request.id)
        return 0 if running is None else self.blocks_for(running.reserved_tokens)

    def blocks_freed(self, victims: Sequence[RequestView]) -> int:
        """KV blocks that become free if all of these running requests are preempted."""
        running, blocks_for = [self._requests.running[victim.id] for victim in victims], self.blocks_for
        known = {request.id: request.known_tokens() for request in running}
        beyond = sum(blocks_for(request.reserved_tokens) - blocks_for(known[request.id]) for request in running)
        cache = self._cache
        return beyond + (sum(map(blocks_for, known.values())) if cache is None else cache.freed_by(known))

    def blocks_to_decode(self, request: RequestView) -> int:
        """KV blocks that a decoding request takes in the next step."""
        if request.tokens_to_prefill:
            return 0
        own, blocks_for = self._requests.running[request.id], self.blocks_for
        reserved_tokens = self._reservation.next_tokens(own, self.query_tokens - 1)
        return blocks_for(reserved_tokens) - blocks_for(own.reserved_tokens)


class AdaptingLoop(Loop):
    """Takes the steps of one instance whose requests draft now more tokens, now fewer."""

    states: Speculating

    __slots__ = ()

    def _decode_on(self) -> bool:
        self.states.settle()
        return super()._decode_on()

    def _compute(self, decision: Decision | None) -> None:
        self.states.settle()  # a decision may have taken requests out
        super()._compute(decision)
