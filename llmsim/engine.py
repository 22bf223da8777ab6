"""One engine instance, and THE MAIN LOOP of llmsim: `Instance.serve`. Read that first.

An instance decides (asks its scheduler), computes (lets time pass) and emits (tokens leave the GPU). A step is atomic:
what arrives during a step waits for its end. While a decision stands and everybody just decodes, the next steps are
known in advance; they are taken together as one *stretch*, which costs one event. An arrival cuts the stretch at the
next step boundary.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import simpy

from llmsim.clock import FIRST_INSTANCE, Clock
from llmsim.decode_batch import Batch, DecodeBatch
from llmsim.errors import PolicyError
from llmsim.latency.contract import Chunk, LatencyModel
from llmsim.memory import KVMemory
from llmsim.record import Recorder
from llmsim.request import Outcome, Request, RequestView
from llmsim.scheduler import Decision, Scheduler


@dataclass(slots=True)
class Stretch:
    """Steps that are under way: one that prefills, or any number that only decode."""

    ends_s: Sequence[float]  #: when each step ends; only the first `steps` will be taken
    steps: int
    decode: bool
    prefill: list[tuple[Request, int]]  #: requests and the tokens of each to compute


class Instance:
    """One model replica with its memory, queue and scheduler."""

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
        on_end: Callable[[int, Request, float], None],
    ) -> None:
        self.clock = clock
        self.number = number
        self.scheduler = scheduler
        self.latency = latency
        self.memory = memory
        self.max_model_len = max_model_len
        self.recorder = recorder
        self.now_s = clock.now
        self.waiting: OrderedDict[int, Request] = OrderedDict()
        self.running: dict[int, Request] = {}  # admitted, in order of admission
        self.prefilling: dict[int, Request] = {}  # those whose prefill is not complete
        self.held: dict[int, Request] = {}  # those that could decode but sit out
        self.batch = self._new_batch()
        self._view = _View(self)
        self._rank = FIRST_INSTANCE + number
        self._output_tokens = output_tokens  # the truth, by request id; no policy can reach it
        self._on_end = on_end
        self._stretch: Stretch | None = None
        self._can_be_cut = False
        self._process = clock.process(self.serve())

    # The main loop ---------------------------------------------------------------------------------------------

    def serve(self) -> Generator[simpy.Event, None, None]:
        """Decide, compute, emit, for ever."""
        while True:
            decision = self._decide()
            wake = self._compute(decision)
            try:
                self._can_be_cut = self._stretch is None or self._stretch.steps > 1
                yield wake
            except simpy.Interrupt:  # an arrival: stop at the next step boundary
                yield self.clock.at(self._boundary_s(), self._rank)
            self._emit()

    def _decide(self) -> Decision | None:
        """Ask the scheduler, if there is anything to schedule."""
        if not (self.waiting or self.running):
            return None
        decision = self.scheduler.schedule(self._view)
        self._carry_out(decision)
        return decision

    def _compute(self, decision: Decision | None) -> simpy.Event:
        """Start the next steps; return the event of their end, or one that never comes when there is no work."""
        self._stretch = self._plan(decision) if decision is not None else None
        if self._stretch is not None:
            return self.clock.at(self._stretch.ends_s[self._stretch.steps - 1], self._rank)
        if decision is not None and decision.review_at_s is not None and decision.review_at_s > self.now_s:
            return self.clock.at(decision.review_at_s, self._rank)
        return self.clock.event()

    def _emit(self) -> None:
        """Let the tokens of the steps that just ended leave the GPU."""
        self._can_be_cut = False
        stretch = self._stretch
        if stretch is None:  # it was idle
            self.now_s = self.clock.now
            return
        start_s, end_s = self.now_s, stretch.ends_s[stretch.steps - 1]
        self._record(stretch, start_s, end_s)
        self.now_s = end_s
        done: list[int] = []
        if stretch.decode:
            self.memory.take(self.batch.blocks_within(stretch.steps))
            done = self.batch.advance(stretch.steps)
            self.recorder.decode_steps(self.number, stretch.ends_s, stretch.steps)
        for id in done:
            self._leave_running(self.running[id])
            self._end(self.running.pop(id), Outcome.FINISHED)
        for request, tokens in stretch.prefill:
            self._emit_prefill(request, tokens, end_s)
        self._stretch = None

    # Called by the cluster -------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Queue a request, or reject it with the reason why it can never be served."""
        reason = self._why_never(request)
        if reason is not None:
            self._end(request, Outcome.REJECTED, reason)
            return
        self.waiting[request.id] = request
        if self._can_be_cut:
            self._cut()

    def close(self, until_s: float) -> None:
        """End the run: emit the steps that ended by `until_s`, and count everybody still here as unfinished."""
        if self._stretch is not None:
            self._stretch.steps = int(np.searchsorted(self._stretch.ends_s, until_s, side="right"))
            if self._stretch.steps:
                self._emit()
        for request in [*self.running.values(), *self.waiting.values()]:
            self._withdraw(request)
            self._end(request, Outcome.UNFINISHED, end_s=until_s)

    # Cutting a stretch -----------------------------------------------------------------------------------------

    def _cut(self) -> None:
        stretch = self._stretch
        if stretch is not None:
            steps = bisect_left(stretch.ends_s, self.clock.now, 0, stretch.steps) + 1
            if steps >= stretch.steps:
                return
            stretch.steps = steps
        self._can_be_cut = False
        self._process.interrupt()

    def _boundary_s(self) -> float:
        stretch = self._stretch
        return self.clock.now if stretch is None else stretch.ends_s[stretch.steps - 1]

    # Carrying out a decision -----------------------------------------------------------------------------------

    def _carry_out(self, decision: Decision) -> None:
        """Move requests as decided, before any time passes."""
        for id in sorted(decision.abandon):
            request = self._known(id, "abandoned")
            self._withdraw(request)
            self._end(request, Outcome.ABANDONED)
        for id in decision.preempt:
            self._preempt(id)
        if decision.hold or self.held:
            self._hold(decision.hold)

    def _preempt(self, id: int) -> None:
        request = self.running.get(id)
        if request is None:
            raise self._wrong(f"request {id} is preempted, but is not running")
        self._withdraw(request)
        request.most_computed_tokens = max(request.most_computed_tokens, request.prefilled_tokens)
        request.prefilled_tokens = 0
        request.preemptions += 1
        self.waiting[id] = request
        self.waiting.move_to_end(id, last=False)

    def _hold(self, hold: frozenset[int]) -> None:
        for id in sorted(self.held.keys() - hold):
            request = self.held.pop(id)
            self.batch.join(request, self._output_tokens[id] - request.emitted_before)
        for id in sorted(hold - self.held.keys()):
            request = self._known(id, "held")
            if request.clock is None:
                raise self._wrong(f"request {id} is held, but is not decoding")
            self._leave_batch(request)
            self.held[id] = request

    def _plan(self, decision: Decision) -> Stretch | None:
        """Return the steps that follow from a decision, None if there is nothing to compute."""
        decode = decision.decode and self.batch.sequences > 0
        prefill, chunks = self._admit(decision) if decision.prefill else ([], [])
        if decode and (needed := self.batch.blocks_within(1)) > self.memory.free_blocks:
            raise self._wrong(f"decoding takes {needed} KV blocks, {self.memory.free_blocks} are free")
        if not (decode or prefill):
            return None
        batch = self.batch
        sequences, context = (batch.sequences, batch.context_tokens) if decode else (0, 0)
        steps = 1 if prefill else self._steps_ahead(decision)
        ends_s: Sequence[float]
        if steps == 1:
            ends_s = (self.now_s + self.latency.step_time_s(chunks, sequences, context),)
        else:
            times_s = self.latency.decode_times_s(sequences, context, steps)
            times_s[0] += self.now_s  # a running sum from the start, so that stretches and single steps agree
            ends_s = np.add.accumulate(times_s).tolist()
            if decision.review_at_s is not None:
                steps = min(steps, bisect_left(ends_s, decision.review_at_s) + 1)
        return Stretch(ends_s, steps, decode, prefill)

    def _steps_ahead(self, decision: Decision) -> int:
        """How many decode steps are certain if nobody arrives."""
        if self.scheduler.asks_every_step:
            return 1
        batch = self.batch
        return min(batch.steps_to_first_finish(), batch.steps_within(self.memory.free_blocks))

    def _admit(self, decision: Decision) -> tuple[list[tuple[Request, int]], list[Chunk]]:
        """Take memory for the chunks of this step and admit those who were waiting."""
        memory = self.memory
        prefill: list[tuple[Request, int]] = []
        chunks: list[Chunk] = []
        for id, tokens in decision.prefill.items():
            request = self.prefilling.get(id) or self._admitted(id)
            computed = request.prefilled_tokens
            to_compute = request.prompt_tokens + request.emitted_before - computed
            if not 0 < tokens <= to_compute:
                raise self._wrong(
                    f"request {id} got {tokens} tokens to prefill, but has {to_compute} to compute"
                )
            blocks = memory.blocks_for(computed + tokens) - memory.blocks_for(computed)
            if blocks > memory.free_blocks:
                raise self._wrong(
                    f"prefill of request {id} takes {blocks} KV blocks, {memory.free_blocks} are free"
                )
            memory.take(blocks)
            prefill.append((request, tokens))
            chunks.append((computed, tokens))
        return prefill, chunks

    def _admitted(self, id: int) -> Request:
        request = self.waiting.pop(id, None)
        if request is None:
            raise self._wrong(f"request {id} is to prefill, but is neither waiting nor prefilling")
        self.running[id] = self.prefilling[id] = request
        if request.first_scheduled_s != request.first_scheduled_s:  # not a number: never before
            request.first_scheduled_s = self.now_s
        return request

    def _emit_prefill(self, request: Request, tokens: int, end_s: float) -> None:
        """Account for a chunk; if it completes the prefill, the next token leaves with it."""
        computed = request.prefilled_tokens
        request.prefilled_tokens = computed + tokens
        if computed < request.most_computed_tokens:
            request.recomputed_tokens += min(tokens, request.most_computed_tokens - computed)
        if request.prefilled_tokens < request.prompt_tokens + request.emitted_before:
            return
        id = request.id
        del self.prefilling[id]
        request.head_s = end_s
        request.emitted_before += 1
        if request.emitted_before == 1:
            request.first_token_s = end_s
        left = self._output_tokens[id] - request.emitted_before
        self.batch.join(request, left)
        if left == 0:
            self._leave_running(request)
            self._end(self.running.pop(id), Outcome.FINISHED)

    # Leaving ---------------------------------------------------------------------------------------------------

    def _leave_batch(self, request: Request) -> None:
        emitted = self.batch.leave(request)
        self.recorder.segment(request.id, self.number, request.head_s, request.joined_step, emitted)
        request.head_s = float("nan")

    def _leave_running(self, request: Request) -> None:
        """Close what is open of a request and give its memory back."""
        if request.clock is not None:
            self._leave_batch(request)
        self.memory.give_back(self.memory.blocks_for(request.prefilled_tokens))

    def _withdraw(self, request: Request) -> None:
        """Take a request out of the queue or of the running ones, whatever its state."""
        id = request.id
        if self.waiting.pop(id, None) is None:
            del self.running[id]
            self.prefilling.pop(id, None)
            self.held.pop(id, None)
            self._leave_running(request)

    def _end(self, request: Request, outcome: Outcome, reason: str = "", end_s: float | None = None) -> None:
        if end_s is None:
            end_s = self.clock.now if outcome is Outcome.REJECTED else self.now_s
        self.recorder.ended(request, self.number, outcome, end_s, reason)
        self._on_end(self.number, request, end_s)

    def _record(self, stretch: Stretch, start_s: float, end_s: float) -> None:
        decode, batch, memory = stretch.decode, self.batch, self.memory
        self.recorder.stretch(
            self.number,
            start_s,
            end_s,
            stretch.steps,
            sum(tokens for _, tokens in stretch.prefill),
            batch.sequences if decode else 0,
            batch.context_tokens if decode else 0,
            memory.total_blocks - memory.free_blocks,
            len(self.waiting),
            len(self.running),
        )

    # Refusals --------------------------------------------------------------------------------------------------

    def _why_never(self, request: Request) -> str | None:
        tokens = request.prompt_tokens + self._output_tokens[request.id]
        if tokens > self.max_model_len:
            return f"prompt and output are {tokens} tokens, max_model_len is {self.max_model_len}"
        blocks = self.memory.blocks_for(tokens - 1)  # the last token is emitted, never computed on
        if blocks > self.memory.total_blocks:
            return f"needs {blocks} KV blocks, the instance has {self.memory.total_blocks}"
        return self.scheduler.why_never(request, self._view)

    def _known(self, id: int, verb: str) -> Request:
        request = self.running.get(id) or self.waiting.get(id)
        if request is None:
            raise self._wrong(f"request {id} is {verb}, but is neither waiting nor running")
        return request

    def _wrong(self, what: str) -> PolicyError:
        return PolicyError(f"{type(self.scheduler).__name__} at t={self.now_s:.6f} s: {what}")

    def _new_batch(self) -> Batch:
        return DecodeBatch(self.memory.block_tokens)


class _View:
    """What a scheduler sees of an instance (scheduler.InstanceView): live, and free of the truth."""

    __slots__ = ("_instance",)

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    @property
    def now_s(self) -> float:
        return self._instance.now_s

    @property
    def waiting(self) -> Iterable[RequestView]:
        return self._instance.waiting.values()

    @property
    def num_waiting(self) -> int:
        return len(self._instance.waiting)

    @property
    def prefilling(self) -> Iterable[RequestView]:
        return self._instance.prefilling.values()

    @property
    def running(self) -> Iterable[RequestView]:
        return self._instance.running.values()

    @property
    def running_latest_first(self) -> Iterable[RequestView]:
        return reversed(self._instance.running.values())

    @property
    def num_running(self) -> int:
        return len(self._instance.running)

    @property
    def num_decoding(self) -> int:
        return self._instance.batch.sequences + len(self._instance.held)

    @property
    def max_model_len(self) -> int:
        return self._instance.max_model_len

    @property
    def block_tokens(self) -> int:
        return self._instance.memory.block_tokens

    @property
    def total_blocks(self) -> int:
        return self._instance.memory.total_blocks

    @property
    def free_blocks(self) -> int:
        return self._instance.memory.free_blocks

    @property
    def decode_blocks(self) -> int:
        held = sum(self.blocks_to_decode(request) for request in self._instance.held.values())
        return self._instance.batch.blocks_within(1) + held

    def blocks_for(self, tokens: int) -> int:
        return self._instance.memory.blocks_for(tokens)

    def blocks_held(self, request: RequestView) -> int:
        return self._instance.memory.blocks_for(request.computed_tokens)

    def blocks_to_decode(self, request: RequestView) -> int:
        if request.id in self._instance.prefilling:
            return 0
        return 1 if request.computed_tokens % self._instance.memory.block_tokens == 0 else 0
