"""States of requests that speculate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan

from llmsim.acceptance import PER_TOKEN
from llmsim.engine.decision_types import is_whole
from llmsim.engine.journal import Journal
from llmsim.engine.memory import KVMemory
from llmsim.engine.request_states import RequestStates
from llmsim.engine.speculation.batch import SpeculatingBatch, foreseeing
from llmsim.engine.speculation.rule import Speculation
from llmsim.latency.contract import LatencyModel
from llmsim.request import NOT_YET_S, Request
from llmsim.waiting import WaitingQueue


class Speculating(RequestStates):
    """Waiting and running requests of one instance, the decoding ones of which speculate."""

    batch: SpeculatingBatch
    rule: Speculation  #: how many tokens are drafted
    stays: bool = False  #: whether the number of drafted tokens is known for good
    latency: LatencyModel  #: of steps in which as many are drafted as at present

    def __init__(
        self,
        waiting: WaitingQueue,
        memory: KVMemory,
        batch: SpeculatingBatch,
        journal: Journal,
        output_tokens: Sequence[int],
        policy: str,
    ) -> None:
        super().__init__(waiting, memory, batch, journal, output_tokens, policy)
        if self.cache is not None and batch.draws is not None:
            self.cache.foresee(foreseeing(batch.draws))

    def settle(self) -> None:
        """Let all draft as many tokens as the rule says, if requests have joined or left since it was asked."""
        batch = self.batch
        if self.stays or not batch.changed:
            return
        batch.changed = False
        drafts = self.rule.drafts(batch.sequences, batch.context / PER_TOKEN)
        if drafts != batch.drafts:
            batch.drafts = drafts
            self._set_drafts({request.id: drafts for request in self.running.values() if request.counter is not None})
            batch.changed = False
        self.latency = self.rule.step_times(batch.mix, drafts)
        self.stays = not self.rule.changes

    def _draft(self, drafts_of: Mapping[int, int]) -> None:
        most = self.rule.most
        if self.rule.mixed is None:
            raise self.wrong("decided drafts, which only a policy does that declares `chooses_drafts`")
        for id, drafts in drafts_of.items():
            request = self._known(id, "to draft")
            if request.counter is None:
                raise self.wrong(f"request {id} is to draft, but is not decoding")
            if not (is_whole(drafts) and 0 <= drafts <= most):
                raise self.wrong(f"request {id} is to draft {drafts!r} tokens, expected from 0 to {most}")
        self._set_drafts(drafts_of)

    def _set_drafts(self, drafts_of: Mapping[int, int]) -> None:
        """Have those that draft another number leave the batch, and join it anew."""
        for id, drafts in drafts_of.items():
            request = self.running[id]
            if request.pace is not None and request.pace.drafts != drafts:
                self._leave_batch(request)
                self.batch.join(request, self.output_tokens[id] - request.emitted_before, drafts)

    def _leave_batch(self, request: Request, in_vain: int = 0) -> None:
        self.line = None
        pace, joined_step = request.pace, request.joined_step
        assert pace is not None
        assert request.counter is not None
        steps = request.counter.steps - joined_step - in_vain
        emitted = self.batch.leave(request, in_vain)
        if steps:
            request.last_token_s = self.last_decode_s
        if steps or not isnan(request.head_s):
            times = request.id, request.head_s, joined_step, steps, emitted, pace.gain, pace.begun_with
            self._journal.segments.append(times)
        request.head_s = NOT_YET_S

    # Memory is for more than is there, and what was accepted last is not seen yet --------------------------

    def _give_back(self, request: Request) -> None:
        if self.cache is None:  # all blocks are alike
            self.memory.release(request.id, request.reserved_tokens)
            return
        known = request.known_tokens()
        self.memory.release_tail(request.reserved_tokens, known)
        self.memory.release(request.id, known)

    def _retract(self, request: Request, granted: int) -> int:
        following = None
        if granted and request.counter is not None:  # memory for its next step, and what that begins with
            following = self._next_reserved(request), request.known_tokens(1)
        self._take_out(request)
        memory, held, known = self.memory, request.reserved_tokens, request.known_tokens()
        reserved = held
        if following is not None:
            reserved, known = max(held, following[0]), following[1]
        elif granted:
            reserved = known = request.prefilled_tokens + granted
        blocks = memory.blocks_for(reserved) - memory.blocks_for(held)
        memory.take(blocks)
        memory.release_tail(reserved, known)
        memory.retract(request.id, known, len(self.running))
        return blocks

    def forget_computed(self, request: Request) -> None:
        """Note that nothing of a request is in memory any more: all of it has to be computed again."""
        super().forget_computed(request)
        request.ahead_tokens = request.behind_tokens = 0

    def blocks_of_step(self, request: Request, tokens: int) -> int:
        """Blocks that a running request takes for so many tokens in the next step, with what it drafts."""
        if request.tokens_to_prefill or not tokens:
            return super().blocks_of_step(request, tokens)
        return self.blocks_to_decode(request)

    def blocks_to_decode(self, request: Request) -> int:
        """KV blocks that a decoding request takes in the next step."""
        blocks_for = self.memory.blocks_for
        return blocks_for(self._next_reserved(request)) - blocks_for(request.reserved_tokens)

    def _next_reserved(self, request: Request) -> int:
        """Tokens that a request has memory for once its next step has begun."""
        return self.batch.reservation.next_tokens(request, self.batch.drafts)
