"""Steps of sequences that speculate: what each of them computes, and how long that takes."""

from __future__ import annotations

from llmsim.acceptance import PER_TOKEN
from llmsim.engine.speculation.states import Speculating
from llmsim.engine.speculation.stretch import SpeculativeStretch
from llmsim.engine.step_times import StepTimes
from llmsim.engine.stretch import Stretch
from llmsim.scheduler import Decision


class SpeculativeStepTimes(StepTimes):
    """Plans the next steps of one instance whose requests speculate."""

    __slots__ = ()

    _states: Speculating

    def decode(self, start_s: float, most: int) -> Stretch:
        """Return the next decode steps, at most so many, and only as far as the step time is linear in the context."""
        states = self._states
        batch, line = states.batch, states.line
        sequences, context, stride = batch.sequences, batch.context, batch.stride
        if isinstance(line, SpeculativeStretch) and line.continues(start_s, context, stride):
            return line.next_steps(most)
        first_s, growth_s, on_line = states.latency.decode_line(sequences, context / PER_TOKEN)
        plain = sequences * PER_TOKEN  # the contract's line is for contexts that grow by a token of each sequence
        growth_s *= stride / plain
        steps = 1 + (on_line - 1) * plain // stride  # it is left where the last of its steps was, or before
        taken = most if most < steps else steps
        stretch, tokens = SpeculativeStretch(), context // PER_TOKEN
        stretch.begin(start_s, first_s, growth_s, steps, 0, taken, sequences, tokens)
        stretch.context, stretch.stride, stretch.drafted = context, stride, batch.drafted
        return stretch

    def alone_s(self, stretch: Stretch) -> float:
        """Seconds of the first of these steps, asked for by itself."""
        assert isinstance(stretch, SpeculativeStretch)
        return self._states.latency.step_time_s((), stretch.decoding, stretch.context / PER_TOKEN)

    def _prefill(self, decision: Decision, start_s: float) -> Stretch:
        """Return one step that prefills, and in which the decoding requests may verify what they have drafted."""
        prefill, chunks, tokens = self._states.admit(decision)
        batch = self._states.batch
        sequences, context, stride, drafts = 0, 0, 0, 0
        if decision.decode and batch.sequences:
            sequences, context, stride, drafts = batch.sequences, batch.context, batch.stride, batch.drafted
            if batch.blocks_needed() > self._states.memory.free_blocks:
                raise self._too_little_memory()
        step_s = self._states.latency.step_time_s(chunks, sequences, context / PER_TOKEN)
        stretch = SpeculativeStretch()
        stretch.begin(start_s, step_s, 0.0, 1, 0, 1, sequences, context // PER_TOKEN, prefill, tokens)
        stretch.context, stretch.stride, stretch.drafted = context, stride, drafts
        return stretch
