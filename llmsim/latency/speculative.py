"""Step times where tokens are drafted and verified: a step of the model, and those of its drafter before the next one.

A step of the model computes k + 1 tokens of each decoding sequence, the drafted ones and the one before them. Then the
drafter passes over what the step has computed, prompts included, and yields a token of each sequence, and k - 1 times
more over one token of each (EAGLE, MTP and draft models; all passes together are one for n-gram look-up: none).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmsim.latency.contract import Chunk, LatencyModel, Line


@dataclass(frozen=True)
class Drafting(LatencyModel):
    """The times of a model that verifies, and those of its drafter, added up."""

    target: LatencyModel  #: that computes all tokens to verify (`LatencyModel.speculating`)
    first: LatencyModel  #: the drafter, over all tokens that the step has computed
    further: LatencyModel  #: the drafter, over one token of each sequence
    passes: int  #: tokens that are drafted, one after the other; at least 1

    @classmethod
    def of(cls, model: LatencyModel, drafter: LatencyModel, drafts: int) -> Drafting:
        """Let this drafter draft so many tokens for a model. InputError where one of them can't tell."""
        return cls(model.speculating(1 + drafts), drafter.speculating(1 + drafts), drafter, drafts)

    @property
    def basis(self) -> str:
        """What the model's times rest on."""
        return self.target.basis

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: float) -> float:
        """Seconds of one step, as the contract says."""
        step_s = self.target.step_time_s(prefill, decoding, context_tokens)
        step_s += self.first.step_time_s(prefill, decoding, context_tokens)
        if decoding and self.passes > 1:
            step_s += (self.passes - 1) * self.further.step_time_s((), decoding, context_tokens)
        return step_s

    def decode_line(self, decoding: int, context_tokens: float) -> Line:
        """Seconds of decode steps in a row, as the contract says."""
        first_s, growth_s, steps = self.target.decode_line(decoding, context_tokens)
        for latency, times in ((self.first, 1), (self.further, self.passes - 1)):
            if times:
                one_s, more_s, on_line = latency.decode_line(decoding, context_tokens)
                first_s, growth_s, steps = first_s + times * one_s, growth_s + times * more_s, min(steps, on_line)
        return first_s, growth_s, steps
