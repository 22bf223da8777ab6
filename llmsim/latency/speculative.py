"""Step times where tokens are drafted and verified: a step of the model, and those of its drafter before the next one.

A step of the model computes k + 1 tokens of each decoding sequence, the drafted ones and the one before them. Then the
drafter passes over what the step has computed, prompts included, and yields a token of each sequence, and k - 1 times
more over one token of each (EAGLE, MTP and draft models; all passes together are one for n-gram look-up: none).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llmsim.latency.contract import UNBOUNDED, Chunk, LatencyModel, Line
from llmsim.latency.curve import Curve
from llmsim.latency.table import StepTable


@dataclass(frozen=True)
class Drafting(LatencyModel):
    """The times of a model that verifies, and those of its drafter, added up."""

    #: of the model, which computes all tokens to verify (`LatencyModel.speculating`), and the drafter's first pass
    whole: tuple[LatencyModel, ...]
    further: LatencyModel  #: the drafter, over one token of each sequence
    passes: int  #: how often it does that
    #: all of a decode step, by the number of sequences, where the parts are curves that add up
    _curves: dict[int, Curve] = field(default_factory=dict, init=False, compare=False)

    @classmethod
    def of(cls, model: LatencyModel, drafter: LatencyModel, drafts: int) -> Drafting:
        """Let this drafter draft so many tokens for a model. InputError where one of them can't tell."""
        return cls((model.speculating(1 + drafts), drafter.speculating(1 + drafts)), drafter, drafts - 1)

    @classmethod
    def with_head(cls, model: LatencyModel, layers: float, head: float, drafts: int) -> Drafting:
        """Let a head with these shares of the model's layers and head draft: its first pass is as so many layers more.

        InputError where the times can't tell.
        """
        whole = model.with_layers(1 + layers, 1 + head).speculating(1 + drafts)
        return cls((whole,), model.with_layers(layers, head), drafts - 1)

    @property
    def basis(self) -> str:
        """What the model's times rest on."""
        return self.whole[0].basis

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: float) -> float:
        """Seconds of one step, as the contract says."""
        if not prefill and (curve := self._curve(decoding)):
            return curve(context_tokens)
        step_s = sum([part.step_time_s(prefill, decoding, context_tokens) for part in self.whole])
        if decoding and self.passes:
            step_s += self.passes * self.further.step_time_s((), decoding, context_tokens)
        return step_s

    def decode_line(self, decoding: int, context_tokens: float) -> Line:
        """Seconds of decode steps in a row, as the contract says."""
        if curve := self._curve(decoding):
            return curve.line(context_tokens, decoding)
        growth_s, steps = 0.0, UNBOUNDED
        for part, times in self._parts():
            _, more_s, on_line = part.decode_line(decoding, context_tokens)
            growth_s, steps = growth_s + times * more_s, min(steps, on_line)
        return self.step_time_s((), decoding, context_tokens), growth_s, steps

    def _parts(self) -> list[tuple[LatencyModel, int]]:
        """What a decode step consists of, and how often."""
        return [*((part, 1) for part in self.whole), *([(self.further, self.passes)] if self.passes else [])]

    def _curve(self, decoding: int) -> Curve | None:
        curve = self._curves.get(decoding)
        if curve is not None:
            return curve
        for part, times in self._parts():
            if not isinstance(part, StepTable):
                return None
            one = part.decode_curve(decoding)
            curve = one if curve is None else curve.plus(one, times)
            if curve is None:
                return None
        assert curve is not None
        self._curves[decoding] = curve
        return curve
