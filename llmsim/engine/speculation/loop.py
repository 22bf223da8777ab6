"""The main loop where requests speculate, and what a scheduler sees of their states."""

from __future__ import annotations

from collections.abc import Sequence

from llmsim.engine.loop import Loop
from llmsim.engine.request_states import RequestStates
from llmsim.engine.speculation.states import Speculating
from llmsim.engine.view import View
from llmsim.latency.contract import LatencyModel
from llmsim.request import RequestView


class SpeculatingLook(View):
    """What a scheduler sees of such states; whether they are ahead of the GPU or not."""

    _states: Speculating

    def updated(self, states: RequestStates) -> View:
        """Read the states at a step boundary."""
        self.query_tokens = 1 + self._states.drafts
        super().updated(states)
        if states.held:
            self.decode_blocks = states.batch.blocks_needed + sum(map(self.blocks_to_decode, states.held.values()))
        return self

    def blocks_held(self, request: RequestView) -> int:
        """KV blocks that a request holds, alone or with others."""
        running = self._running.get(request.id)
        return 0 if running is None else self.blocks_for(running.reserved_tokens)

    def blocks_freed(self, victims: Sequence[RequestView]) -> int:
        """KV blocks that become free if all of these running requests are preempted."""
        running, blocks_for = [self._running[victim.id] for victim in victims], self.blocks_for
        known = {request.id: request.known_tokens() for request in running}
        beyond = sum(blocks_for(request.reserved_tokens) - blocks_for(known[request.id]) for request in running)
        cache = self._cache
        return beyond + (sum(map(blocks_for, known.values())) if cache is None else cache.freed_by(known))

    def blocks_to_decode(self, request: RequestView) -> int:
        """KV blocks that a decoding request takes in the next step."""
        return 0 if request.tokens_to_prefill else self._states.blocks_to_decode(self._running[request.id])


class SpeculatingView(SpeculatingLook):
    """What a scheduler sees of states of an instance that decides its steps one after another."""

    def __init__(self, states: Speculating, max_model_len: int, latency: LatencyModel) -> None:
        self._states = states
        super().__init__(states, max_model_len, latency)


class SpeculativeLoop(Loop):
    """Takes the steps of one instance whose requests speculate."""

    states: Speculating

    __slots__ = ()

    def _decode_on(self) -> bool:
        if self.states.batch.changed:
            self.states.settle()
        return super()._decode_on()
