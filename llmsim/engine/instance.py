"""One engine instance, and THE MAIN LOOP of llmsim: `Instance.serve` and `Instance.act`. Read these first.

An instance emits (tokens leave the GPU), decides (asks its scheduler) and computes (lets time pass). A step is atomic:
what arrives during a step waits for its end. While a decision stands and everybody just decodes, the next steps are
known in advance; they are taken together as one *stretch*, which costs one event. An arrival cuts the stretch at the
next step boundary.

If nobody looks at an instance between two arrivals there, or waits for what it does, events would tell nobody anything.
What it is sent is then kept for a while, and `Instance.catch_up` goes through all of it at once, to the same end.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from math import inf, isnan
from typing import ClassVar

import simpy

from llmsim.engine.clock import FIRST_INSTANCE, Clock
from llmsim.engine.decode_batch import Batch, DecodeBatch
from llmsim.engine.exchange import Exchange
from llmsim.engine.memory import KVMemory
from llmsim.engine.prefix_cache import PrefixCache
from llmsim.engine.recorder import Recorder
from llmsim.engine.stretch import Stretch
from llmsim.engine.view import OnlyLimits, View
from llmsim.errors import PolicyError
from llmsim.latency.contract import Chunk, LatencyModel
from llmsim.request import NEVER_S, Outcome, Request, RequestView
from llmsim.scheduler import Decision, Scheduler

POSTED = 64  #: requests that an instance which nobody looks at takes at once
WRITTEN_AT_ONCE = 1024  #: stretches, about


class Instance:
    """One model replica with its memory, queue and scheduler."""

    stepwise: ClassVar[bool] = False  #: True: every step on its own

    __slots__ = (
        "_cancelled",
        "_decodes_by_itself",
        "_ends",
        "_gpus",
        "_last",
        "_last_decode_s",
        "_limits",
        "_on_end",
        "_on_tokens",
        "_output_tokens",
        "_posted",
        "_rank",
        "_segments",
        "_stretch",
        "_taken",
        "_view",
        "_wake",
        "asks_every_step",
        "batch",
        "cache",
        "clock",
        "due_s",
        "exchange",
        "held",
        "latency",
        "max_model_len",
        "memory",
        "now_s",
        "number",
        "on_report_due",
        "prefilling",
        "recorder",
        "report_due_s",
        "running",
        "scheduler",
        "seen",
        "waiting",
        "waiting_tokens",
    )

    def __init__(
        self,
        clock: Clock,
        number: int,
        *,
        scheduler: Scheduler,
        latency: LatencyModel,
        memory: KVMemory,
        max_model_len: int,
        recorder: Recorder,
        output_tokens: Sequence[int],
        on_end: Callable[[int, Request], None],
        on_tokens: Callable[[int, Stretch], None] | None = None,
        gpus: int = 1,
    ) -> None:
        self.clock = clock
        self.number = number
        self.scheduler = scheduler
        self.asks_every_step = self.stepwise or scheduler.asks_every_step
        self.latency = latency
        self.memory = memory
        self.cache = memory if isinstance(memory, PrefixCache) else None
        self.max_model_len = max_model_len
        self.recorder = recorder
        self.now_s = clock.now_s  # the current step boundary
        self.waiting = scheduler.new_queue()
        self.running: dict[int, Request] = {}  # admitted, in order of admission
        self.prefilling: dict[int, Request] = {}  # those of them whose prefill is not complete
        self.held: dict[int, Request] = {}  # those of them that could decode but sit out
        self.batch = self._new_batch()  # those of them that decode
        self.waiting_tokens = 0  # of the prompts of those who wait
        self.report_due_s = inf  # from then on, a report must be written before anything changes
        self.on_report_due: Callable[[Instance], None] = lambda _: None
        self._view = View(self)
        self._limits = OnlyLimits(memory.block_tokens, max_model_len, memory.total_blocks)
        self._rank = FIRST_INSTANCE + number
        self._cancelled: list[int] = []  # to be taken out at the next step boundary
        self._last_decode_s = NEVER_S
        schedule = type(scheduler).schedule
        self._decodes_by_itself = getattr(schedule, "decodes_by_itself", None) is schedule and not self.asks_every_step
        self._output_tokens = output_tokens  # the truth, by request id; no policy can reach it
        self._on_end = on_end
        self._on_tokens = on_tokens
        self._gpus = gpus
        self._stretch: Stretch | None = None  # None: idle
        self._last: Stretch | None = None  # the one before, if it may go on
        self.due_s = inf  # when to act next: at the end of the stretch, or for who comes
        self._wake: simpy.Event | None = None  # not None: what happens then, and may be brought forward
        self.seen = True  # False: nobody looks, so that it need not be up to date
        self._posted: list[tuple[float, Request]] = []  # what it was sent while it was not, and when
        self._taken: list[tuple[Stretch, int, int, int]] = []  # with blocks used, waiting and running meanwhile
        self._segments: list[tuple[int, float, int, int]] = []  # of token times: request, head, first step, steps
        self._ends: list[tuple[Request, float, str]] = []  # of requests, when and why, that nobody was told of yet
        self.exchange: Exchange | None = None  # with other instances, in a disaggregated cluster

    # The main loop -----------------------------------------------------------------------------------------

    def serve(self) -> Generator[simpy.Event, None, None]:
        """Act whenever that is due, for ever: a SimPy process, and an event each time."""
        while True:
            yield self._due()
            if self.due_s >= self.report_due_s:
                self.on_report_due(self)
            self.act()

    def catch_up(self, time_s: float) -> None:
        """Do all that was due before `time_s`: the same without events, if nobody has looked since."""
        for submitted_s, request in self._posted:
            while self.due_s < submitted_s:
                self.act()
            self.enqueue(request)
            self._interrupt(submitted_s, True)
        self._posted.clear()
        while self.due_s < time_s:
            self.act()
        self._write_down()

    def act(self) -> None:
        """Emit the tokens of the steps that end now, decide, and compute the next steps."""
        self.now_s = self.due_s
        if self._stretch is not None:
            self._emit(self._stretch)
        if self._cancelled:
            self._drop_cancelled()
        if not self._decode_on():
            self._compute(self._decide())

    def _emit(self, stretch: Stretch) -> None:
        """Let the tokens of the steps that just ended leave the GPU."""
        memory = self.memory
        blocks_used = memory.total_blocks - memory.free_blocks
        self._taken.append((stretch, blocks_used, len(self.waiting), len(self.running)))
        if self._on_tokens is not None:
            self._on_tokens(self.number, stretch)
        self._stretch = None  # who routes because somebody finishes sees its steps as taken
        if stretch.decoding:
            self._last = stretch
            self._last_decode_s = stretch.end_s
            for id in self.batch.advance(stretch.steps):
                self._finish(id)
        if stretch.prefill:
            self._last = None
            # each token has had an equal share of the GPUs
            took_s = stretch.end_s - stretch.anchor_s
            token_gpu_s = self._gpus * took_s / (stretch.prefill_tokens + stretch.decoding)
            for request, tokens in stretch.prefill:
                self._emit_prefill(request, tokens, token_gpu_s)

    def _decode_on(self) -> bool:
        """Let everybody decode without asking, if it is clear what the scheduler would say; return whether."""
        batch = self.batch
        if self.waiting or self.prefilling or not (batch.sequences and self._decodes_by_itself):
            return False
        if self.held or self.exchange is not None:
            return False
        steps = batch.steps_ahead(self.memory.free_blocks)
        if not steps:
            return False
        stretch = self._stretch = self._decode_steps(steps)
        self.due_s = stretch.end_s
        return True

    def _decide(self) -> Decision | None:
        """Ask the scheduler, if there is anything to schedule, and move requests as it says."""
        if self.exchange is not None:
            self.exchange.settle()
        if not (self.waiting or self.running):
            return None
        decision = self.scheduler.schedule(self._view.updated(self))
        if decision.abandon or decision.preempt or decision.hold or self.held:
            self._carry_out(decision)
            if decision.preempt and self.cache is not None:  # a victim that shares blocks may need less than it gave
                return decision._replace(review_at_s=self.now_s)
        return decision

    def _compute(self, decision: Decision | None) -> None:
        """Start the next steps, if there is anything to compute."""
        stretch = self._stretch = None if decision is None else self._plan(decision)
        if stretch is not None:
            self.due_s = stretch.end_s
        elif decision is None:
            self.due_s = inf
        elif decision.abandon or decision.preempt:
            self.due_s = self.now_s  # things have changed: ask again at once
        else:
            review_s = decision.review_at_s
            self.due_s = inf if review_s is None or review_s <= self.now_s else review_s

    def _due(self) -> simpy.Event:
        """Return the event of having to act."""
        self._wake = self.clock.some_time()
        if self.due_s < inf:
            self.clock.bring_forward(self._wake, self.due_s, self._rank)
        return self._wake

    # Called by the cluster ---------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Queue a request, or reject it with the reason why it can never be served."""
        now_s = self.clock.now_s
        if now_s >= self.report_due_s:
            self.on_report_due(self)
        reason = self.why_never(request)
        if reason is not None:
            self.end(request, Outcome.REJECTED, now_s, reason)
            self._write_down()  # reasons are numbered as they come up
        elif self.seen:
            self.enqueue(request)
            self.look_up()
        else:
            self._posted.append((now_s, request))
            if len(self._posted) == POSTED:
                self.catch_up(now_s)

    def enqueue(self, request: Request) -> None:
        """Put a request at the end of the queue."""
        self.waiting[request.id] = request
        self.waiting_tokens += request.prompt_tokens

    def cancel(self, id: int) -> None:
        """Take a request out at the next step boundary: its user has left."""
        self._cancelled.append(id)
        self.look_up()

    def look_up(self) -> None:
        """Decide anew at the next step boundary: something has happened."""
        self._interrupt(self.clock.now_s, arriving=self.clock.rank < self._rank)

    def _interrupt(self, now_s: float, arriving: bool) -> None:
        """Be due at the next step boundary; `arriving`: those of this very time are yet to come."""
        stretch, due_s = self._stretch, now_s
        if stretch is not None:
            if stretch.steps == 1:
                return
            taken = stretch.ended_before(now_s) if arriving else stretch.ended_by(now_s)
            if taken + 1 >= stretch.steps:
                return
            due_s = stretch.cut(taken + 1)
        if due_s < self.due_s:
            self.due_s = due_s
            if self._wake is not None:
                self.clock.bring_forward(self._wake, due_s, self._rank)

    def last_token_s(self, request: Request) -> float:
        """When the latest token of a request was emitted, up to now; NaN if there is none."""
        if request.clock is None:
            return request.last_token_s
        stretch = self._stretch
        if stretch is not None and stretch.decoding:
            step = stretch.ended_by(self.clock.now_s)
            if step:
                return stretch.step_end_s(step)
        return self._last_decode_s if request.clock.steps > request.joined_step else request.last_token_s

    def cached_tokens(self, request: RequestView) -> int:
        """Tokens that a request would find in the prefix cache if it were admitted now."""
        cache, stretch = self.cache, self._stretch
        if cache is None:
            return 0
        if stretch is not None and stretch.decoding:  # the steps of it that have ended have taken memory
            cache.evict_ahead(self.batch.blocks_within(self._steps_taken(stretch)))
        return cache.cached_blocks(request.id, request.tokens_to_prefill) * cache.block_tokens

    def free_blocks(self, before_s: float | None = None) -> int:
        """KV blocks that are free now, or were before a time since which nothing but decode steps happened."""
        stretch = self._stretch
        if stretch is None or not stretch.decoding:
            return self.memory.free_blocks
        steps = self._steps_taken(stretch) if before_s is None else stretch.ended_before(before_s)
        return self.memory.free_blocks - self.batch.blocks_within(steps)

    def _steps_taken(self, stretch: Stretch) -> int:
        """How many steps of a stretch have ended by now.

        One that ends at this very time has not if its turn is still to come: it has for users, who leave last, and for
        what an instance of a higher number causes.
        """
        now_s = self.clock.now_s
        return stretch.ended_before(now_s) if self.clock.rank < self._rank else stretch.ended_by(now_s)

    def stop(self, until_s: float) -> None:
        """End the run: emit the steps that ended by `until_s`."""
        self._cancelled.clear()  # they were to leave at the end of a step that is cut off
        if self._stretch is not None:
            self._stretch.cut(self._stretch.ended_by(until_s))
            if self._stretch.steps:
                self.now_s = self._stretch.end_s
                self._emit(self._stretch)  # who is cancelled leaves at the next boundary: after the end

    def close(self, until_s: float) -> None:
        """When all instances have stopped: count everybody still here as unfinished."""
        for request in [*self.running.values(), *self.waiting.values()]:
            self._withdraw(request)
            self.end(request, Outcome.UNFINISHED, until_s)
        for request in self.exchange.close() if self.exchange is not None else ():
            self.end(request, Outcome.UNFINISHED, until_s)
        self._write_down()

    # Called by its exchange --------------------------------------------------------------------------------

    def reserve(self, id: int, tokens: int) -> int:
        """Take memory for the first tokens of a request; return how many of them it has here already."""
        found = 0 if self.cache is None else self.cache.attach(id, tokens + 1)
        self.memory.take(self.memory.blocks_for(tokens) - self.memory.blocks_for(found))
        return found

    def take_over(self, request: Request) -> None:
        """Let a request decode from now on whose keys and values are here."""
        self.running[request.id] = request
        if self.cache is not None:
            self.cache.fill(request.id, request.prefilled_tokens)
        self.batch.join(request, self._output_tokens[request.id] - request.emitted_before)

    # Carrying out a decision -------------------------------------------------------------------------------

    def _carry_out(self, decision: Decision) -> None:
        """Move requests as decided, before any time passes."""
        for id in sorted(decision.abandon):
            request = self._known(id, "abandoned")
            self._withdraw(request)
            self.end(request, Outcome.ABANDONED, self.now_s)
        for id in decision.preempt:
            self._preempt(id)
        for id in sorted(self.held.keys() - decision.hold):
            request = self.held.pop(id)
            request.held = False
            self.batch.join(request, self._output_tokens[id] - request.emitted_before)
        for id in sorted(decision.hold - self.held.keys()):
            self._hold(id)

    def _preempt(self, id: int) -> None:
        request = self.running.get(id)
        if request is None:
            raise self._wrong(f"request {id} is preempted, but is not running")
        if self.cache is not None:
            self.cache.name_own(id, request.computed_tokens)
        self._withdraw(request)
        request.most_computed_tokens = max(request.most_computed_tokens, request.prefilled_tokens)
        request.prefilled_tokens = 0
        request.preemptions += 1
        self.waiting[id] = request
        self.waiting.move_to_end(id, last=False)
        self.waiting_tokens += request.prompt_tokens

    def _hold(self, id: int) -> None:
        request = self._known(id, "held")
        if request.clock is None:
            raise self._wrong(f"request {id} is held, but is not decoding")
        self._leave_batch(request)
        request.held = True
        self.held[id] = request

    def _plan(self, decision: Decision) -> Stretch | None:
        """Return the steps that follow from a decision, None if there is nothing to compute."""
        if decision.prefill:
            return self._prefill_step(decision)
        batch, free_blocks = self.batch, self.memory.free_blocks
        if not (decision.decode and batch.sequences):
            return None
        if batch.blocks_needed > free_blocks:
            raise self._too_little_memory()
        # whoever was given up may have made way for another request, which the scheduler has not seen yet
        ask_at_once = self.asks_every_step or decision.abandon
        stretch = self._decode_steps(1 if ask_at_once else batch.steps_ahead(free_blocks))
        if decision.review_at_s is not None:
            stretch.cut(min(stretch.ended_before(decision.review_at_s) + 1, stretch.steps))
        return stretch

    def _decode_steps(self, most: int) -> Stretch:
        """Return the next steps of those who decode, as far as their times lie on one line, but at most so many."""
        batch, last = self.batch, self._last
        sequences, context_tokens = batch.sequences, batch.context_tokens
        if last is not None and last.goes_on(self.now_s, sequences, context_tokens):
            return last.next(most)
        first_s, growth_s, steps = self.latency.decode_line(sequences, context_tokens)
        if steps < 1:
            raise self._wrong(f"{type(self.latency).__name__} has a line of {steps} decode steps, expected at least 1")
        taken = most if most < steps else steps
        return Stretch(self.now_s, first_s, growth_s, steps, 0, taken, sequences, context_tokens)

    def _prefill_step(self, decision: Decision) -> Stretch:
        """Return one step that prefills, and in which all others may decode."""
        batch = self.batch
        prefill, chunks, tokens = self._admit(decision)
        sequences, context_tokens = (batch.sequences, batch.context_tokens) if decision.decode else (0, 0)
        if sequences and batch.blocks_needed > self.memory.free_blocks:
            raise self._too_little_memory()
        step_s = self.latency.step_time_s(chunks, sequences, context_tokens)
        return Stretch(self.now_s, step_s, 0.0, 1, 0, 1, sequences, context_tokens, prefill, tokens)

    def _admit(self, decision: Decision) -> tuple[Sequence[tuple[Request, int]], Sequence[Chunk], int]:
        """Take memory for the chunks of this step, which is returned with its tokens; admit those who were waiting."""
        memory, cache = self.memory, self.cache
        if cache is not None:
            self._attach(decision, cache)
        prefill: list[tuple[Request, int]] = []
        chunks: list[Chunk] = []
        total, size = 0, memory.block_tokens
        for id, asked in decision.prefill.items():
            request, tokens = self.prefilling.get(id), asked
            if request is None:
                request = self._admitted(id)
                if cache is not None:
                    tokens = min(asked, self._not_cached(request, cache))
            computed = request.prefilled_tokens
            end = computed + tokens
            if not computed < end <= request.prompt_tokens + request.emitted_before:
                left = request.tokens_to_prefill
                raise self._wrong(f"request {id} got {tokens} tokens to prefill, but has {left} to compute")
            blocks = -computed // size - -end // size  # for all tokens, less those that it has
            if blocks > memory.free_blocks:
                raise self._wrong(f"prefill of request {id} takes {blocks} KV blocks, {memory.free_blocks} are free")
            memory.take(blocks)
            if cache is not None:
                cache.fill(id, end)
            prefill.append((request, tokens))
            chunks.append((computed, tokens))
            total += tokens
        return prefill, chunks, total

    def _admitted(self, id: int) -> Request:
        request = self.waiting.pop(id, None)
        if request is None:
            raise self._wrong(f"request {id} is to prefill, but is neither waiting nor prefilling")
        self.waiting_tokens -= request.prompt_tokens
        self.running[id] = self.prefilling[id] = request
        if request.preemptions == 0 and request.emitted_before == 0:
            request.first_scheduled_s = self.now_s
        return request

    def _attach(self, decision: Decision, cache: PrefixCache) -> None:
        """Hold what those who are admitted find, before memory is handed out to any of them."""
        for id in decision.prefill:
            request = self.waiting.get(id)
            if request is not None:
                cache.attach(id, request.tokens_to_prefill)

    def _not_cached(self, request: Request, cache: PrefixCache) -> int:
        """Let a request that is admitted start from what the cache has of it; return the tokens left to compute."""
        to_prefill = request.tokens_to_prefill
        cached = cache.attach(request.id, to_prefill)
        request.prefilled_tokens = cached
        request.cached_tokens += max(0, cached - request.most_computed_tokens)
        return to_prefill - cached

    def _emit_prefill(self, request: Request, tokens: int, token_gpu_s: float) -> None:
        """Account for a chunk; if it completes the prefill, the next token leaves with it."""
        computed, emitted = request.prefilled_tokens, request.emitted_before
        end = request.prefilled_tokens = computed + tokens
        request.prefill_gpu_s += tokens * token_gpu_s
        if computed < request.most_computed_tokens:
            again = min(tokens, request.most_computed_tokens - computed)
            request.recomputed_tokens += again
            request.recomputed_gpu_s += again * token_gpu_s
        if end < request.prompt_tokens + emitted:
            return
        id = request.id
        del self.prefilling[id]
        request.head_s = request.last_token_s = self.now_s
        if not emitted:
            request.first_token_s = self.now_s
        request.emitted_before = emitted + 1
        left = self._output_tokens[id] - emitted - 1
        if left and self.exchange is not None and self.exchange.sends:
            self._hand_over(request, self.exchange)
            return
        self.batch.join(request, left)
        if left == 0:
            self._finish(id)

    def _hand_over(self, request: Request, exchange: Exchange) -> None:
        """Send a request elsewhere to decode; its token times here end with the head."""
        del self.running[request.id]
        self._segments.append((request.id, request.head_s, 0, 0))
        self._write_down()  # before the instance that goes on with it does
        request.head_s = NEVER_S
        exchange.hand_over(request)

    # Leaving -----------------------------------------------------------------------------------------------

    def _finish(self, id: int) -> None:
        request = self.running.pop(id)
        self._leave_batch(request)
        self.memory.release(id, request.prefilled_tokens)
        self.end(request, Outcome.FINISHED, self.now_s)

    def _withdraw(self, request: Request) -> None:
        """Take a request out of the queue or of the running ones, whatever its state."""
        id = request.id
        if self.waiting.pop(id, None) is not None:
            self.waiting_tokens -= request.prompt_tokens
        else:
            del self.running[id]
            self.prefilling.pop(id, None)
            if self.held.pop(id, None) is not None:
                request.held = False
            self._release(request)

    def _release(self, request: Request) -> None:
        """Take a request's memory back, and close what is open of its token times."""
        if request.clock is not None:
            self._leave_batch(request)
        self.memory.release(request.id, request.prefilled_tokens)

    def _leave_batch(self, request: Request) -> None:
        self._last = None  # the line ends with the batch
        joined_step = request.joined_step
        emitted = self.batch.leave(request)
        if emitted:
            request.last_token_s = self._last_decode_s
        if emitted or not isnan(request.head_s):  # nothing, if it was released from hold and left at once
            self._segments.append((request.id, request.head_s, joined_step, emitted))
        request.head_s = NEVER_S

    def _drop_cancelled(self) -> None:
        for id in self._cancelled:
            request = self.running.get(id) or self.waiting.get(id)
            if request is not None:
                self._withdraw(request)
            elif self.exchange is not None:
                request = self.exchange.drop(id)
            if request is not None:
                self.end(request, Outcome.CANCELLED, self.now_s)
        self._cancelled.clear()

    def end(self, request: Request, outcome: Outcome, end_s: float, reason: str = "") -> None:
        """Note that a request has ended."""
        if not isnan(request.left_s):  # its user left first, whatever became of it then
            outcome = Outcome.CANCELLED
        if self.cache is not None:
            self.cache.forget(request.id)
        request.ended_as = outcome
        self._ends.append((request, end_s, reason))
        if self.seen or len(self._taken) > WRITTEN_AT_ONCE:
            self._write_down()

    def _write_down(self) -> None:
        """Tell of what has happened since the last time. Of much at once, that is faster than one by one."""
        number, recorder, ends = self.number, self.recorder, self._ends
        recorder.stretches(number, self._taken)
        recorder.segments(number, self._segments)
        self._taken, self._segments, self._ends = [], [], []
        for request, end_s, reason in ends:
            recorder.ended(request, number, end_s, reason)
        for request, _, _ in ends:
            self._on_end(number, request)

    # Refusals ----------------------------------------------------------------------------------------------

    def why_never(self, request: Request) -> str | None:
        """Return why a request can never be served here, or None."""
        tokens = request.prompt_tokens + self._output_tokens[request.id]
        if tokens > self.max_model_len:
            return f"prompt and output are {tokens} tokens, max_model_len is {self.max_model_len}"
        blocks = self.memory.blocks_for(tokens - 1)  # the last token is emitted, never computed on
        if blocks > self.memory.total_blocks:
            return f"needs {blocks} KV blocks, the instance has {self.memory.total_blocks}"
        return self.scheduler.why_never(request, self._limits)

    def _too_little_memory(self) -> PolicyError:
        needed, free = self.batch.blocks_needed, self.memory.free_blocks
        return self._wrong(f"decoding takes {needed} KV blocks, {free} are free")

    def _known(self, id: int, verb: str) -> Request:
        request = self.running.get(id) or self.waiting.get(id)
        if request is None:
            raise self._wrong(f"request {id} is {verb}, but is neither waiting nor running")
        return request

    def _wrong(self, what: str) -> PolicyError:
        return PolicyError(f"{type(self.scheduler).__name__} at t={self.now_s:.6f} s: {what}")

    def _new_batch(self) -> Batch:
        return DecodeBatch(self.memory)
