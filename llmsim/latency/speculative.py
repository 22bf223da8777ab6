"""Step times where tokens are drafted and verified: a step of the model, and those of its drafter before the next one.

A step of the model computes k + 1 tokens of each decoding sequence, the drafted ones and the one before them. Then the
drafter passes over what the step has computed, prompts included, and yields a token of each sequence, and k - 1 times
more over one token of each (EAGLE, MTP and draft models; all passes together are one for n-gram look-up: none).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
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
    #: how often it does that over what share of the sequences: all of them, or those that draft so many tokens
    passes: tuple[tuple[int, float], ...]
    #: all of a decode step, by the number of sequences, where the parts are curves that add up
    _curves: dict[int, Curve] = field(default_factory=dict, init=False, compare=False)

    @classmethod
    def of(cls, model: LatencyModel, drafter: LatencyModel, drafts: int) -> Drafting:
        """Let this drafter draft so many tokens for a model. InputError where one of them can't tell."""
        return cls.mixed(model, drafter, {drafts: 1})

    @classmethod
    def mixed(cls, model: LatencyModel, drafter: LatencyModel, mix: Mapping[int, int]) -> Drafting:
        """Let a drafter draft so many tokens for so many sequences each: tokens -> sequences, some of at least 1."""
        tokens = mean_query_tokens(mix)
        return cls((model.speculating(tokens), drafter.speculating(tokens)), drafter, _passes(mix))

    @classmethod
    def with_head(cls, model: LatencyModel, layers: float, head: float, drafts: int) -> Drafting:
        """Let a head with these shares of the model's layers and head draft: its first pass is as so many layers more.

        InputError where the times can't tell.
        """
        return cls.of_layers(model.with_layers(1 + layers, 1 + head), model.with_layers(layers, head), {drafts: 1})

    @classmethod
    def of_layers(cls, whole: LatencyModel, head: LatencyModel, mix: Mapping[int, int]) -> Drafting:
        """Let a head draft so many tokens for so many sequences each; `whole`: the model with the head's layers."""
        return cls((whole.speculating(mean_query_tokens(mix)),), head, _passes(mix))

    @property
    def basis(self) -> str:
        """What the model's times rest on."""
        return self.whole[0].basis

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: float) -> float:
        """Seconds of one step, as the contract says."""
        if not prefill and (curve := self._curves.get(decoding) or self._curve(decoding)):
            return curve.at(context_tokens)
        step_s = 0.0
        for part in self.whole:
            step_s += part.step_time_s(prefill, decoding, context_tokens)
        for times, share in self.passes if decoding else ():
            step_s += times * self.further.step_time_s((), round(share * decoding), share * context_tokens)
        return step_s

    def decode_line(self, decoding: int, context_tokens: float) -> Line:
        """Seconds of decode steps in a row, as the contract says."""
        if curve := self._curves.get(decoding) or self._curve(decoding):
            j = bisect_right(curve.knots, context_tokens)  # `Curve.line`, written out, as in `StepTable`
            b = curve.b[j]
            return curve.a[j] + b * context_tokens, b * decoding, int(-((context_tokens - curve.ends[j]) // decoding))
        growth_s, steps = 0.0, UNBOUNDED
        for part, times, share in self._parts():
            _, more_s, on_line = part.decode_line(round(share * decoding), share * context_tokens)
            growth_s, steps = growth_s + times * more_s, min(steps, on_line)
        return self.step_time_s((), decoding, context_tokens), growth_s, steps

    def _parts(self) -> list[tuple[LatencyModel, int, float]]:
        """What a decode step consists of, how often, and over what share of the sequences."""
        return [*((part, 1, 1.0) for part in self.whole), *((self.further, *each) for each in self.passes)]

    def _curve(self, decoding: int) -> Curve | None:
        curve = None
        for part, times, share in self._parts():
            if not isinstance(part, StepTable) or share != 1:
                return None
            one = part.decode_curve(decoding)
            curve = one if curve is None else curve.plus(one, times)
            if curve is None:
                return None
        assert curve is not None
        self._curves[decoding] = curve
        return curve


def mean_query_tokens(mix: Mapping[int, int]) -> float:
    """Tokens that a decoding sequence computes on average where so many draft so many tokens (tokens -> sequences)."""
    drafted, sequences = sum(k * n for k, n in mix.items()), sum(mix.values())
    return 1 + (drafted // sequences if drafted % sequences == 0 else drafted / sequences)


def _passes(mix: Mapping[int, int]) -> tuple[tuple[int, float], ...]:
    """How often a drafter passes over what share of the sequences, after its first pass."""
    passes, done, left, sequences = [], 1, sum(mix.values()), sum(mix.values())
    for drafts in sorted(mix):
        if drafts > done:
            passes.append((drafts - done, left / sequences))
            done = drafts
        left -= mix[drafts]
    return tuple(passes)
