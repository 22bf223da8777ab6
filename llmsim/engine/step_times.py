"""From a decision to the steps that follow from it, and how long they take by the latency model."""

from __future__ import annotations

from math import inf

from llmsim import guests
from llmsim.engine.memory import CachingMemory
from llmsim.engine.request_states import RequestStates
from llmsim.engine.stretch import Stretch
from llmsim.errors import PolicyError
from llmsim.latency.contract import LatencyModel
from llmsim.scheduler import Decision


class StepTimes:
    """Plans the next steps of one instance."""

    __slots__ = ("_asks_every_step", "_states", "gpus", "latency")

    def __init__(self, latency: LatencyModel, states: RequestStates, *, asks_every_step: bool, gpus: int) -> None:
        self.latency = latency
        self.gpus = gpus  #: over which the model is spread
        self._states = states
        self._asks_every_step = asks_every_step

    def plan(self, decision: Decision, start_s: float, *, single: bool = False) -> Stretch | None:
        """Return the steps that follow from a decision, from a time on; None if there is nothing to compute.

        `single`: one step, after which there is to be another decision.
        """
        states = self._states
        cache = states.cache
        if cache is not None:
            self._begin_step(decision, cache)
        if decision.prefill:
            return self._prefill(decision, start_s)
        batch, free_blocks = states.batch, states.memory.free_blocks
        if not (decision.decode and batch.sequences):
            return None
        if batch.blocks_needed() > free_blocks:
            raise self._too_little_memory()
        # what was abandoned may have made room for another request, which the scheduler has not seen yet
        single = single or self._asks_every_step or bool(decision.abandon)
        steps = 1 if single else batch.steps_ahead(free_blocks)
        if cache is not None:
            steps = min(steps, cache.steps_until_more() or steps)
        return self.decode(start_s, steps)

    def decode(self, start_s: float, most: int) -> Stretch:
        """Return the next decode steps, at most so many, and only as far as the step time is linear in the context."""
        states = self._states
        batch, line = states.batch, states.line
        sequences, context_tokens = batch.sequences, batch.context_tokens
        if line is not None and line.goes_on(start_s, sequences, context_tokens):
            return line.next(most)
        try:
            first_s, growth_s, steps = self.latency.decode_line(sequences, context_tokens)
            taken = most if most < steps else steps
            stretch = Stretch().begin(start_s, first_s, growth_s, steps, 0, taken, sequences, context_tokens)
            shortest_s = first_s if growth_s >= 0.0 else first_s + (taken - 1) * growth_s
            if shortest_s > 0.0 and taken >= 1 and stretch.end_s < inf:
                return stretch
        except BaseException as error:
            raise guests.blamed(error, self._place(), PolicyError) from error
        given = f"a line of {steps} decode steps of {first_s} s, {growth_s} s more each"
        raise PolicyError(f"{self._place()} has {given}; expected at least 1, with times above 0")

    def alone_s(self, stretch: Stretch) -> float:
        """Seconds of the first of these steps, asked for by itself."""
        return self.latency.step_time_s((), stretch.decoding, stretch.context_tokens)

    def _prefill(self, decision: Decision, start_s: float) -> Stretch:
        """Return one step that prefills, and in which the decoding requests may emit a token each."""
        states = self._states
        prefill, chunks, tokens = states.admit(decision)
        batch = states.batch
        sequences, context_tokens = (batch.sequences, batch.context_tokens) if decision.decode else (0, 0)
        if sequences and batch.blocks_needed() > states.memory.free_blocks:
            raise self._too_little_memory()
        try:
            step_s = self.latency.step_time_s(chunks, sequences, context_tokens)
            positive = 0.0 < step_s < inf
        except BaseException as error:
            raise guests.blamed(error, self._place(), PolicyError) from error
        if not positive:
            raise PolicyError(f"{self._place()}: a step of {tokens} tokens takes {step_s} s, expected more than 0")
        return Stretch().begin(start_s, step_s, 0.0, 1, 0, 1, sequences, context_tokens, prefill, tokens)

    def _begin_step(self, decision: Decision, cache: CachingMemory) -> None:
        """Let a cache know what is decided for the next step."""
        states = self._states
        chunks, admitted = [], []
        for id, tokens in decision.prefill.items():
            if (running := states.prefilling.get(id)) is not None:
                chunks.append((running, tokens))
            elif (request := states.waiting.get(id)) is not None:
                admitted.append((request, tokens))
        cache.begin_step(decision, chunks, admitted, states.batch.blocks_needed())

    def _place(self) -> str:
        return f"{type(self.latency).__name__} at t={self._states.now_s:.6f} s"

    def _too_little_memory(self) -> PolicyError:
        states = self._states
        needed, free = states.batch.blocks_needed(), states.memory.free_blocks
        return states.wrong(f"decoding takes {needed} KV blocks, {free} are free")
