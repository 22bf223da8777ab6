"""The fields of a scenario that say how users behave: how they talk, how long they wait, whether they try again."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llmsim.quantities import Count, NotNegative, Positive
from llmsim.scenario.table import Table

Failure = Literal["rejected", "abandoned", "cancelled"]


class WaitTable(Table):
    """How long users wait: a distribution over users."""

    distribution: Literal["fixed", "exponential", "lognormal"] = "exponential"
    mean_s: Positive
    #: coefficient of variation, of a log-normal distribution only: 1 if not given
    cv: Positive | None = None

    @model_validator(mode="after")
    def _cv_belongs(self) -> WaitTable:
        if self.cv is not None and self.distribution != "lognormal":
            raise ValueError(f"cv belongs to distribution 'lognormal', not to '{self.distribution}'")
        return self


class PatienceTable(Table):
    """Users that leave when they have waited too long."""

    first_token: WaitTable | None = None
    next_token: WaitTable | None = None
    #: from when a user leaves to when the server learns of it
    cancel_delay_s: NotNegative = 0.0

    @model_validator(mode="after")
    def _somebody_leaves(self) -> PatienceTable:
        if self.cancel_delay_s > 0 and self.first_token is None and self.next_token is None:
            raise ValueError("cancel_delay_s needs users that leave; expected first_token or next_token")
        return self


class NumberTable(Table):
    """How many there are of something: always the same, or geometric from 1 on."""

    distribution: Literal["fixed", "geometric"] = "geometric"
    mean: Annotated[float, Field(ge=1, le=1e9)]

    @model_validator(mode="after")
    def _whole_if_fixed(self) -> NumberTable:
        if self.distribution == "fixed" and self.mean % 1:
            raise ValueError(f"mean = {self.mean:g}: expected a whole number, since it is fixed")
        return self


class ToolsTable(Table):
    """Agents: each turn is so many calls of the model, with a gap for the tool between an answer and the next call."""

    calls: NumberTable
    gap: WaitTable


class SessionsTable(Table):
    """Conversations: `requests` counts their turns (calls, with tools), `arrivals` says when they begin.

    With closed arrivals, `concurrency` users have one conversation after the other.
    """

    turns: NumberTable = NumberTable(mean=5.0)
    #: from the last token of an answer, as the user sees it, to the next turn
    think: WaitTable
    #: before each conversation of a closed-loop user
    pause: WaitTable | None = None
    tools: ToolsTable | None = None
    #: whether prompts repeat the conversation so far, in front of the question that `lengths` says
    history: bool = True
    #: a user whose prompt and answer would exceed this begins a new conversation
    max_context_tokens: Count | None = None


class RetriesTable(Table):
    """Users that try again when a request has failed, after min(backoff_s factor^k, max_backoff_s) (1 - jitter U)."""

    #: the first one included; 1: no retries
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 1
    backoff_s: Positive = 0.5
    #: by which each backoff is longer than the one before; 1: constant backoffs
    factor: Annotated[float, Field(ge=1, le=1e6)] = 2.0
    max_backoff_s: Positive = 8.0
    #: share of a backoff that is random: U is uniform from 0 to 1
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.25
    #: what users try again after
    on: Annotated[tuple[Failure, ...], Field(min_length=1, strict=False)] = ("rejected", "abandoned", "cancelled")
