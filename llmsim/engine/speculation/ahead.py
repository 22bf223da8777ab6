"""Asynchronous scheduling of requests that speculate: a step is decided before it is known what the last one accepts.

vLLM then reckons with all drafted tokens of the step in flight: it has memory for them and for those of the next step.
A request takes no part in the next step only if it is sure to end with the one in flight, which is so if it lacks one
token; else its next step is computed in vain if it has ended.
"""

from __future__ import annotations

from collections.abc import Callable

from llmsim.engine.ahead import StatesAhead, ViewAhead
from llmsim.engine.journal import TokenTimes
from llmsim.engine.speculation.loop import SpeculatingView
from llmsim.engine.speculation.states import Speculating
from llmsim.request import Request, RequestView


class SpeculatingStatesAhead(StatesAhead, Speculating):
    """States of requests that speculate, and count tokens in flight as emitted."""

    def _not_known_yet(self) -> Callable[[Request, int], int]:
        return lambda request, ahead: 0  # paces tell what is known

    def _surely_ends(self, request: Request) -> bool:
        counter, pace = request.counter, request.pace
        if not super()._surely_ends(request) or counter is None or pace is None:
            return False
        steps = counter.steps - request.joined_step
        lacks = self.output_tokens[request.id] - request.emitted_before - (pace.tokens(steps - 1) if steps else 0)
        return lacks <= 1

    def _end(self, request: Request, token_times: TokenTimes | None) -> None:
        if request.counter is None:
            request.behind_tokens = 0  # its last token has been seen
        super()._end(request, token_times)

    def _lose_in_flight(self, request: Request) -> int:
        rests = self.in_flight.rests(request.id)
        in_vain = super()._lose_in_flight(request)
        if in_vain and rests:
            request.prefilled_tokens -= 1
            request.ahead_tokens += 1
            request.behind_tokens -= 1
        return in_vain

    def _withdraw_without(self, request: Request, in_vain: int) -> None:
        self.withdraw(request)  # it has left the batch without what was in vain
        request.prefilled_tokens += in_vain  # computed all the same


class SpeculatingViewAhead(SpeculatingView, ViewAhead):
    """What a scheduler sees of such states."""

    def blocks_to_decode(self, request: RequestView) -> int:
        """KV blocks that a decoding request takes in the next batch."""
        return 0 if self.rests(request) else super().blocks_to_decode(request)
