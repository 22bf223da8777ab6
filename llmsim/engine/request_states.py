"""The states of the requests of one instance, with the memory they hold. Within the engine, only this writes a Request.

    waiting --admit--> prefilling --last chunk--> decoding <--hold, resume--> held
       ^                   |                         |                         |
       +-----preempt-------+-------------------------+-------------------------+

`finish` and `withdraw` take a request out. All but the waiting ones are `running`, and hold KV blocks. The decoding
ones are kept as a batch (`decode_batch`), which advances by whole stretches of steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from math import isnan

from llmsim import guests
from llmsim.engine.decision_types import is_whole
from llmsim.engine.decode_batch import Batch
from llmsim.engine.held import Held
from llmsim.engine.journal import Journal
from llmsim.engine.memory import CachingMemory, KVMemory
from llmsim.engine.preempt_in_turn import preempt_in_turn
from llmsim.engine.stretch import Stretch
from llmsim.errors import MemoryOverrun, PolicyError
from llmsim.latency.contract import Chunk
from llmsim.request import FINISHED, NOT_YET_S, Outcome, Request
from llmsim.scheduler import Decision
from llmsim.waiting import WaitingQueue

CHANGED = "a policy has changed what it may only read"


class RequestStates:
    """Waiting and running requests of one instance."""

    __slots__ = (
        "_admissions",
        "_journal",
        "_policy",
        "batch",
        "cache",
        "held",
        "last_decode_s",
        "line",
        "memory",
        "now_s",
        "output_tokens",
        "prefilling",
        "running",
        "waiting",
        "waiting_tokens",
    )

    def __init__(
        self,
        waiting: WaitingQueue,
        memory: KVMemory,
        batch: Batch,
        journal: Journal,
        output_tokens: Sequence[int],
        policy: str,
    ) -> None:
        self.now_s = 0.0  #: the current step boundary
        self.waiting = waiting
        self.waiting_tokens = 0  #: of the prompts of waiting requests
        self.running: dict[int, Request] = {}  #: admitted, in order of admission
        self.prefilling: dict[int, Request] = {}  #: running, prefill not complete
        self.held = Held(memory.block_tokens)  #: running, prefill complete, sitting steps out
        self.batch = batch  #: running and decoding
        self.memory = memory
        self.cache = memory if isinstance(memory, CachingMemory) else None
        self.line: Stretch | None = None  #: the latest decode steps, if the next ones may go on on their line
        self.last_decode_s = NOT_YET_S  #: when the latest decode step ended
        self._admissions = 0  # and changes of order: how many so far
        self._journal = journal
        self.output_tokens = output_tokens  #: true lengths by request id, out of reach of every policy
        self._policy = policy  # name of the scheduler, for errors

    # Arriving, and carrying out a decision -----------------------------------------------------------------

    def enqueue(self, request: Request) -> None:
        """Put a request at the end of the queue."""
        try:
            self.waiting[request.id] = request
        except BaseException as error:  # the order of a queue is the policy's
            place = f"{self._policy}, queueing request {request.id} that arrived at t={request.arrival_s:.6f} s"
            raise guests.blamed(error, place, PolicyError) from error
        self.waiting_tokens += request.prompt_tokens

    def look_up(self, decision: Decision) -> None:
        """Let the cache know what a scheduler has looked up there."""
        if self.cache is not None:
            for id, tokens in decision.looked_up:
                self.cache.look_up(id, tokens)

    def carry_out(self, decision: Decision) -> None:
        """Abandon, preempt, hold and resume as decided, before any time passes."""
        if self.cache is not None:
            self.cache.take_back()
        for id in sorted(decision.abandon):
            self.drop(self._known(id, "abandoned"), Outcome.ABANDONED)
        if decision.preempt and self.cache is not None and self.cache.in_turn:
            preempt_in_turn(self, decision, self.cache)
        else:
            for id in decision.preempt:
                self.preempt(id)
        for id in decision.order:
            self._run(self.running.pop(id))
        if decision.hold or self.held:
            self._change_held(decision.hold)
        if decision.drafts:
            self._draft(decision.drafts)

    def _draft(self, drafts_of: Mapping[int, int]) -> None:
        """Let decoding requests draft so many tokens in each step."""
        raise self.wrong(f"decided drafts of request {next(iter(drafts_of))}, and nothing is drafted here")

    def _change_held(self, hold: Set[int]) -> None:
        """Hold these requests and no others."""
        held, batch = self.held, self.batch
        for id in sorted(held.keys() - hold):
            request = held.take(id)
            batch.join(request, self.output_tokens[id] - request.emitted_before)
        for id in sorted(hold - held.keys()):
            self._hold(id)

    def preempt(self, id: int, granted: int = 0) -> int:
        """Preempt a request that has memory for `granted` further tokens already; return the blocks for these."""
        request = self.running.get(id)
        if request is None:
            raise self.wrong(f"request {id} is preempted, but is not running")
        blocks = self._retract(request, granted)
        self.forget_computed(request)
        request.preemptions += 1
        self.enqueue(request)
        self.waiting.move_to_end(id, last=False)
        return blocks

    def _retract(self, request: Request, granted: int) -> int:
        """Take a request out, and its memory back; return the blocks for `granted` further tokens that it has."""
        unknown = self._unknown(request, granted)
        self._take_out(request)
        memory, tokens = self.memory, request.prefilled_tokens
        blocks = memory.blocks_for(tokens + granted) - memory.blocks_for(tokens)
        memory.take(blocks)
        if unknown:
            memory.release_tail(tokens + granted, tokens + granted - unknown)
        memory.retract(request.id, tokens + granted - unknown, len(self.running))
        return blocks

    def blocks_of_step(self, request: Request, tokens: int) -> int:
        """Blocks that a running request takes for so many tokens in the next step."""
        computed, memory = request.computed_tokens, self.memory
        return memory.blocks_for(computed + tokens) - memory.blocks_for(computed)

    def _unknown(self, request: Request, granted: int) -> int:
        """How many tokens of a request, `granted` ones for the next step among them, have memory and are not known."""
        return 0

    def rests(self, id: int) -> bool:
        """Whether a running request, not held, takes no part in the next step."""
        return False

    def forget_computed(self, request: Request) -> None:
        """Note that nothing of a request is in memory any more: all of it has to be computed again."""
        request.most_computed_tokens = max(request.most_computed_tokens, request.prefilled_tokens)
        request.prefilled_tokens = 0

    def _hold(self, id: int) -> None:
        request = self.batch.members.get(id)
        if request is None:
            self._known(id, "held")
            raise self.wrong(f"request {id} is held, but is not decoding")
        self._leave_batch(request)
        self.held.put(request)

    def admit(self, decision: Decision) -> tuple[Sequence[tuple[Request, int]], Sequence[Chunk], int]:
        """Admit requests, and take memory for the chunks of a step.

        Returns requests with the tokens of each to compute, the same as chunks for a latency model, and all tokens.
        Raises `PolicyError` if the decision can't be carried out.
        """
        memory, cache = self.memory, self.cache
        prefill: list[tuple[Request, int]] = []
        chunks: list[Chunk] = []
        total, size = 0, memory.block_tokens
        for id, asked in decision.prefill.items():
            request, tokens = self.prefilling.get(id), asked
            if tokens.__class__ is not int and not is_whole(tokens):
                raise self.wrong(f"request {id} got {tokens!r} tokens to prefill, expected a whole number")
            if request is None:
                request = self._admitted(id)
                if cache is not None:
                    tokens = min(asked, self._not_cached(request, cache))
            computed = request.prefilled_tokens
            end = computed + tokens
            if not computed < end <= request.prompt_tokens + request.emitted_before:
                left = request.tokens_to_prefill
                raise self.wrong(f"request {id} got {tokens} tokens to prefill, but has {left} to compute")
            blocks = -computed // size - -end // size  # for all tokens, less those that it has
            try:
                memory.take(blocks)
            except MemoryOverrun:
                free = memory.free_blocks
                raise self.wrong(f"prefill of request {id} takes {blocks} KV blocks, {free} are free") from None
            prefill.append((request, tokens))
            chunks.append((computed, tokens))
            total += tokens
        return prefill, chunks, total

    def _admitted(self, id: int) -> Request:
        request = self.waiting.pop(id, None)
        if request is None:
            raise self.wrong(f"request {id} is to prefill, but is neither waiting nor prefilling")
        self.waiting_tokens -= request.prompt_tokens
        self._admissions = request.admission = self._admissions + 1
        self.running[id] = self.prefilling[id] = request
        if request.preemptions == 0 and request.emitted_before == 0:
            request.first_scheduled_s = self.now_s
        return request

    def _run(self, request: Request) -> None:
        """Let a request be the last one of the running ones."""
        self._admissions = request.admission = self._admissions + 1
        self.running[request.id] = request

    def _not_cached(self, request: Request, cache: CachingMemory) -> int:
        """Let a request that is admitted start from what the cache has of it; return the tokens left to compute."""
        to_prefill = request.tokens_to_prefill
        cached = cache.attach(request.id, to_prefill)
        request.prefilled_tokens = cached
        request.cached_tokens += max(0, cached - request.most_computed_tokens)
        return to_prefill - cached

    # Emitting tokens ---------------------------------------------------------------------------------------

    def finish_in_order(self, done: Sequence[int]) -> None:
        """Finish requests that have emitted their last tokens, in order of admission."""
        if len(done) == 1:
            self.finish(done[0])
            return
        running = self.running
        for id in sorted(done, key=lambda id: running[id].admission):
            self.finish(id)

    def complete_chunk(self, request: Request, tokens: int, token_gpu_s: float, sends: bool) -> bool:
        """Account for a chunk that is computed. With the last one a token leaves, and the request goes on to decode.

        Returns whether that is to be elsewhere: its prefill is complete, tokens are left, and this instance `sends`.
        """
        computed, emitted = request.prefilled_tokens, request.emitted_before
        end = request.prefilled_tokens = computed + tokens
        request.prefill_gpu_s += token_gpu_s * tokens
        most = request.most_computed_tokens
        if computed < most:
            again = min(tokens, most - computed)
            request.recomputed_tokens += again
            request.recomputed_gpu_s += again * token_gpu_s
        if end > most:
            self._journal.decisions_in_vain = 0
        id, cache = request.id, self.cache
        if end < request.prompt_tokens + emitted:
            if cache is not None:
                self._computed(cache, id, end)
            return False
        del self.prefilling[id]
        request.head_s = request.last_token_s = self.now_s
        if not emitted:
            request.first_token_s = self.now_s
        request.emitted_before = emitted + 1
        left = self.output_tokens[id] - emitted - 1
        if left and sends:
            return True
        if left and cache is not None:
            self._computed(cache, id, end)
            cache.decodes(request)
        self.batch.join(request, left)
        if left == 0:
            self.finish(id)
        return False

    def _computed(self, cache: CachingMemory, id: int, tokens: int) -> None:
        """Let a cache know that a prompt is computed up to here."""
        cache.computed(id, tokens)

    # Handovers between instances ---------------------------------------------------------------------------

    def reserve(self, id: int, tokens: int) -> int:
        """Take memory for the first tokens of a request; return how many of them it has here already."""
        found = 0 if self.cache is None else self.cache.attach(id, tokens + 1)
        self.memory.take(self.memory.blocks_for(tokens) - self.memory.blocks_for(found))
        return found

    def take_over(self, request: Request) -> None:
        """Let a request decode whose keys and values are here."""
        self._run(request)
        if self.cache is not None:
            self.cache.fill(request.id, request.prefilled_tokens)
            self.cache.decodes(request)
        self.batch.join(request, self.output_tokens[request.id] - request.emitted_before)

    def hand_over(self, request: Request) -> None:
        """Let a request go that decodes elsewhere: its keys and values stay, its token times here end with the head."""
        del self.running[request.id]
        self._journal.segments.append((request.id, request.head_s, 0, 0))
        self._journal.write()  # before the instance that goes on with it does
        request.head_s = NOT_YET_S

    # Leaving -----------------------------------------------------------------------------------------------

    def finish(self, id: int) -> None:
        """Take out a decoding request that has emitted its last token."""
        request = self.running.pop(id)
        self._leave_batch(request)
        self._give_back(request)
        self.end(request, FINISHED, self.now_s)

    def withdraw(self, request: Request) -> None:
        """Take a request out of the queue or of the running ones, whatever its state, and take its memory back."""
        id = request.id
        if self.waiting.pop(id, None) is not None:
            self.waiting_tokens -= request.prompt_tokens
            return
        self._take_out(request)
        self._give_back(request)

    def _give_back(self, request: Request) -> None:
        """Take the memory back of a request that has been taken out."""
        self.memory.release(request.id, request.prefilled_tokens)

    def _take_out(self, request: Request) -> None:
        """Take a request out of the running ones; its memory is still to be taken back."""
        del self.running[request.id]
        self.prefilling.pop(request.id, None)
        if request.id in self.held:
            self.held.take(request.id)
        request.held = False
        if request.counter is not None:
            self._leave_batch(request)

    def drop(self, request: Request, outcome: Outcome) -> None:
        """End a request before its time, now."""
        self.withdraw(request)
        self.end(request, outcome, self.now_s)

    def _leave_batch(self, request: Request, in_vain: int = 0) -> None:
        """Take a request out of the batch; so many of its latest tokens were computed in vain."""
        self.line = None  # it ends with the batch
        joined_step = request.joined_step
        emitted = self.batch.leave(request)
        if in_vain:
            emitted -= in_vain
            request.emitted_before -= in_vain
        if emitted:
            request.last_token_s = self.last_decode_s
        if emitted or not isnan(request.head_s):  # nothing, if it was resumed and left at once
            self._journal.segments.append((request.id, request.head_s, joined_step, emitted))
        request.head_s = NOT_YET_S

    def end(self, request: Request, outcome: Outcome, end_s: float, reason: str = "") -> None:
        """Note that a request has ended. If its user left before, it counts as cancelled, however it ended here."""
        if outcome is FINISHED and request.emitted_before != self.output_tokens[request.id]:
            emitted, output = request.emitted_before, self.output_tokens[request.id]
            raise self.wrong(f"request {request.id} ends with {emitted} tokens of {output}: {CHANGED}")
        if not isnan(request.left_s):
            outcome = Outcome.CANCELLED
        if self.cache is not None:
            self.cache.forget(request.id)
        request.ended_as = outcome
        self._journal.end(request, end_s, reason)

    # Looking up --------------------------------------------------------------------------------------------

    def get(self, id: int) -> Request | None:
        """Return a request that waits or runs here, or None."""
        return self.running.get(id) or self.waiting.get(id)

    def _known(self, id: int, verb: str) -> Request:
        request = self.get(id)
        if request is None:
            raise self.wrong(f"request {id} is {verb}, but is neither waiting nor running")
        return request

    def place(self) -> str:
        """Say which scheduler is at work, and when."""
        return f"{self._policy} at t={self.now_s:.6f} s"

    def wrong(self, what: str) -> PolicyError:
        """Return the error that the scheduler has decided what can't be."""
        return PolicyError(f"{self.place()}: {what}")
