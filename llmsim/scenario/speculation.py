"""The table of a scenario that says how requests speculate: what is drafted, and how much of it is accepted.

Names are those of vLLM's `--speculative-config`; how much is accepted stands in place of its synthetic acceptance.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from llmsim.acceptance import PER_TOKEN
from llmsim.quantities import Count, NotNegative
from llmsim.scenario.table import Table

MOST_DRAFTS = 64
Drafts = Annotated[int, Field(ge=0, le=MOST_DRAFTS)]
#: (smallest number of sequences, largest, tokens that each drafts)
BatchSizes = Annotated[tuple[Count, Count, Drafts], Field(strict=False)]
Rate = Annotated[float, Field(ge=0, le=1)]


class DrafterTable(Table):
    """What drafts tokens, and how long that takes: `layers`, `model` or `step_s`."""

    #: a head of so many of the model's own layers, as EAGLE's and MTP's
    layers: Count | None = None
    #: tokens that such a head knows, where they are fewer than the model's, as EAGLE-3's
    vocab_size: Count | None = None
    #: a model of its own: a name of `llmsim list models`, or a file
    model: str | None = None
    #: each pass of whatever it is, which yields a token of each sequence
    step_s: NotNegative | None = None

    @model_validator(mode="after")
    def _one_way(self) -> DrafterTable:
        given = [name for name in ("layers", "model", "step_s") if getattr(self, name) is not None]
        if len(given) != 1:
            said = f"{given[0]} and {given[1]} exclude each other; give one" if given else "expected one"
            raise ValueError(f"{said} of layers, model and step_s")
        if self.vocab_size is not None and self.layers is None:
            raise ValueError("vocab_size is that of a head; expected it beside layers")
        return self


class SpeculationTable(Table):
    """Speculative decoding: each decoding request computes the tokens drafted for it, and keeps those accepted."""

    #: what drafts: look-up in the prompt, heads of the model, or a smaller model
    method: Literal["ngram", "eagle", "eagle3", "mtp", "draft_model"]
    #: tokens that each decoding request drafts in a step; 0: none, as without this table
    num_speculative_tokens: Drafts
    #: fewer by the number of decoding requests: [[1, 64, 3], [65, 128, 1], [129, 1024, 0]]; the last row holds for more
    num_speculative_tokens_per_batch_size: Annotated[tuple[BatchSizes, ...], Field(strict=False)] = ()
    #: up to num_speculative_tokens, as many as yield most accepted tokens in the time of a step (SmartSpec)
    adapt: Literal["goodput"] | None = None
    #: mean tokens that a step yields of each request: from 1 to num_speculative_tokens + 1, in hundredths
    acceptance_length: float | None = None
    #: shares of steps in which the first drafted token, the first two, ... are accepted: never ascending
    acceptance_rates: Annotated[tuple[Rate, ...], Field(strict=False)] | None = None
    #: measured acceptance lengths: a name of `llmsim list acceptances`
    acceptance: str | None = None
    #: "random": what each step yields is drawn, in place of the acceptance length rounded down or up in turn
    acceptance_kind: Literal["even", "random"] = "even"
    #: left out: a head of one layer for eagle, eagle3 and mtp, nothing for ngram
    draft: DrafterTable | None = None

    @model_validator(mode="after")
    def _one_acceptance(self) -> SpeculationTable:
        names = ("acceptance_length", "acceptance_rates", "acceptance")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} exclude each other; give one of them")
        if not given and self.num_speculative_tokens:
            raise ValueError("expected acceptance_length, acceptance_rates or acceptance: how much is accepted")
        if self.acceptance_length is not None:
            checked_length(self.acceptance_length, self.num_speculative_tokens)
        return self

    @model_validator(mode="after")
    def _rates_fit(self) -> SpeculationTable:
        rates = self.acceptance_rates
        if rates is None:
            return self
        if len(rates) != self.num_speculative_tokens:
            drafts = self.num_speculative_tokens
            raise ValueError(f"{len(rates)} acceptance_rates; expected one for each of {drafts} drafted tokens")
        if any(later > earlier for earlier, later in pairwise(rates)):
            raise ValueError(
                "acceptance_rates ascend; each is the share in which all drafted tokens so far are accepted"
            )
        return self

    @model_validator(mode="after")
    def _batch_sizes_fit(self) -> SpeculationTable:
        if self.adapt is not None and self.num_speculative_tokens_per_batch_size:
            raise ValueError("adapt and num_speculative_tokens_per_batch_size exclude each other; give one of them")
        expected = 1
        for first, last, drafts in self.num_speculative_tokens_per_batch_size:
            row = [first, last, drafts]
            if first != expected:
                fault = "leaves a gap" if first > expected else "overlaps"
                raise ValueError(
                    f"num_speculative_tokens_per_batch_size: {row} {fault}; expected it to begin at {expected}"
                )
            if last < first:
                raise ValueError(f"num_speculative_tokens_per_batch_size: {row} ends before it begins")
            if drafts > self.num_speculative_tokens:
                most = self.num_speculative_tokens
                raise ValueError(
                    f"num_speculative_tokens_per_batch_size: {row} drafts more than num_speculative_tokens = {most}"
                )
            expected = last + 1
        return self

    @model_validator(mode="after")
    def _drafter_fits(self) -> SpeculationTable:
        if self.method == "draft_model" and (self.draft is None or self.draft.layers is not None):
            raise ValueError("method 'draft_model' needs draft = {model = ...}, or {step_s = ...}")
        if self.method == "ngram" and self.draft is not None:
            raise ValueError("method 'ngram' looks tokens up in the prompt; expected no draft")
        if self.method != "draft_model" and self.draft is not None and self.draft.model is not None:
            raise ValueError(
                f"method '{self.method}' drafts with a head of the model; a model belongs to 'draft_model'"
            )
        return self

    @model_validator(mode="after")
    def _kind_fits(self) -> SpeculationTable:
        if self.acceptance_kind == "random" and self.changes:
            named = "adapt" if self.adapt is not None else "num_speculative_tokens_per_batch_size"
            raise ValueError(f"acceptance_kind = 'random' and {named} exclude each other: draws are of one number")
        return self

    @property
    def by_batch(self) -> tuple[tuple[int, int], ...]:
        """Rows of (largest number of sequences, tokens that each drafts)."""
        rows = self.num_speculative_tokens_per_batch_size
        return tuple((last, drafts) for _, last, drafts in rows) or ((1, self.num_speculative_tokens),)

    @property
    def changes(self) -> bool:
        """Whether the number of drafted tokens changes in a run."""
        return self.adapt is not None or len({drafts for _, drafts in self.by_batch}) > 1

    @property
    def lookahead(self) -> int:
        """Tokens beyond the drafted ones that vLLM has memory for, where the drafter has keys and values of its own."""
        return 0 if self.method == "ngram" else self.num_speculative_tokens


def checked_length(length: float, drafts: int) -> None:
    """ValueError unless an acceptance length is possible with so many drafted tokens, and in hundredths."""
    if not 1 <= length <= drafts + 1:
        raise ValueError(
            f"acceptance_length = {length:g}, expected from 1 to {drafts + 1}: one token, and "
            f"what is kept of {drafts} drafted ones"
        )
    if abs(length * PER_TOKEN - round(length * PER_TOKEN)) > 1e-6:
        raise ValueError(f"acceptance_length = {length}, expected hundredths, such as {length:.2f}")
