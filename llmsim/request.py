"""A request as an engine knows it: everything except how many tokens it will produce in the end.

The true output length lives with the instance (engine/request_states.py), out of reach of every policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Literal, Protocol

from llmsim.acceptance import PER_TOKEN, Pace
from llmsim.slo import Slo

NOT_YET_S = float("nan")
#: acceptance length without drafts: one token in each step
PLAIN = (PER_TOKEN,)
#: the phases of requests that an instance serves: both, or one of them where pools are disaggregated
Role = Literal["mixed", "prefill", "decode"]


class Outcome(IntEnum):
    """How a request ended. Exactly one applies, and they never merge."""

    UNFINISHED = 0  #: the run ended first (censored)
    FINISHED = 1
    ABANDONED = 2  #: given up by the server
    CANCELLED = 3  #: given up by the user
    REJECTED = 4  #: can never be served; never entered a queue


#: for what concerns every request: to look up a member of an enumeration takes Python 3.11 as long as ten other names
UNFINISHED, FINISHED = Outcome.UNFINISHED, Outcome.FINISHED


class RequestView(Protocol):
    """What a policy may read of a request. The true output length is not here, nor reachable from here."""

    @property
    def id(self) -> int:
        """Place in the workload, from 0; also the order of arrival."""

    @property
    def arrival_s(self) -> float:
        """When it reached the cluster, seconds from the start of the run."""

    @property
    def user(self) -> int:
        """Number of its user, as a cookie or a session id tells; its own id where nothing does."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens in the prompt."""

    @property
    def predicted_output_tokens(self) -> int | None:
        """What the deployment's predictor says of its output length; None where there is no predictor."""

    @property
    def max_tokens(self) -> int | None:
        """The most output tokens that the client asks for; None where it declares nothing."""

    @property
    def ignore_eos(self) -> bool:
        """Whether the client asks for exactly `max_tokens`, as benchmark tools do."""

    @property
    def priority(self) -> int:
        """Of its class, as in vLLM: the lower value goes first; 0 where there are no classes."""

    @property
    def tenant(self) -> str:
        """Whose it is: the tenant of its class; "" where there are no classes."""

    @property
    def slo(self) -> Slo | None:
        """What its client declares that it needs: the SLO of its class; None where nothing is declared."""

    @property
    def predicted_quality(self) -> Mapping[str, float] | None:
        """What a predictor says of how good each pool's answer would be; None where there is no predictor."""

    @property
    def attempt(self) -> int:
        """How many models have answered it in vain, where a router has answers judged."""

    @property
    def acceptance(self) -> Sequence[int]:
        """Mean tokens that a step yields of requests of its class, in hundredths, by the number of drafted ones from 0.

        As an engine learns it from what is accepted; only (100,) where nothing is drafted.
        """

    @property
    def emitted_tokens(self) -> int:
        """Output tokens that have left the GPU so far."""

    @property
    def computed_tokens(self) -> int:
        """Tokens whose keys and values are in memory; 0 again after a preemption."""

    @property
    def tokens_to_prefill(self) -> int:
        """Tokens to compute before the next one can be emitted; 0 while decoding or held.

        The prompt at first; after a preemption the prompt and what had been emitted.
        """

    @property
    def preemptions(self) -> int:
        """How often its memory was taken back."""

    @property
    def first_token_s(self) -> float:
        """When its first token was emitted, seconds from the start of the run; NaN before."""


class StepCounter:
    """Counts the decode steps of one instance: while a request decodes, every step emits one of its tokens."""

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps = 0


class Request:
    """One request on its way through an instance. Only the engine writes it; policies see `RequestView`."""

    __slots__ = (
        "acceptance",
        "admission",
        "ahead_tokens",
        "arrival_s",
        "attempt",
        "behind_tokens",
        "cached_tokens",
        "counter",
        "emitted_before",
        "ended_as",
        "first_scheduled_s",
        "first_token_s",
        "head_s",
        "held",
        "id",
        "ignore_eos",
        "joined_step",
        "last_token_s",
        "left_s",
        "max_tokens",
        "most_computed_tokens",
        "pace",
        "phase",
        "predicted_output_tokens",
        "predicted_quality",
        "preemptions",
        "prefill_gpu_s",
        "prefilled_tokens",
        "priority",
        "prompt_tokens",
        "recomputed_gpu_s",
        "recomputed_tokens",
        "slo",
        "tenant",
        "user",
    )

    def __init__(self, id: int, arrival_s: float, prompt_tokens: int) -> None:
        self.id = id
        self.user = id
        self.arrival_s = arrival_s
        self.prompt_tokens = prompt_tokens
        self.predicted_output_tokens: int | None = None
        self.max_tokens: int | None = None
        self.ignore_eos = False
        self.priority = 0
        self.tenant = ""
        self.slo: Slo | None = None
        self.predicted_quality: Mapping[str, float] | None = None
        self.attempt = 0
        self.first_scheduled_s = NOT_YET_S
        self.first_token_s = NOT_YET_S
        self.admission = 0  #: place among the running requests of its instance: they are in ascending order of it
        self.preemptions = 0
        self.recomputed_tokens = 0
        self.prefill_gpu_s = 0.0  #: its share of the steps that computed its prompt, again included
        self.recomputed_gpu_s = 0.0  #: the part of it that went into computing again
        self.cached_tokens = 0  #: never computed for it: found in the prefix cache
        self.most_computed_tokens = 0  #: the most that it ever had in memory when it was preempted
        self.prefilled_tokens = 0
        self.emitted_before = 0  #: tokens emitted before it last joined the decode batch
        self.joined_step = 0  #: the count of decode steps when it last joined the decode batch
        self.held = False  #: prefill complete, but sitting steps out
        self.counter: StepCounter | None = None  #: its instance's, while it decodes
        self.last_token_s = NOT_YET_S  #: when its latest token was emitted, as of when it last joined or left the batch
        self.left_s = NOT_YET_S  #: when its user left
        self.ended_as = UNFINISHED  #: so far
        self.head_s = NOT_YET_S  #: when the token that its latest prefill yielded was emitted
        #: where requests speculate: its acceptance lengths in hundredths, by the number of drafted tokens
        self.acceptance: tuple[int, ...] = PLAIN
        self.phase = 0  #: what it has of the next token, hundredths, when it joins the batch
        self.pace: Pace | None = None  #: since it last joined the batch; None: a token in each step
        self.ahead_tokens = 0  #: when it last left the batch: tokens it had memory for, beyond those in memory
        self.behind_tokens = 0  #: tokens in memory then that its engine had not seen yet

    @property
    def emitted_tokens(self) -> int:
        """Output tokens that have left the GPU so far."""
        if self.counter is None:
            return self.emitted_before
        steps = self.counter.steps - self.joined_step
        return self.emitted_before + (steps if self.pace is None else self.pace.tokens(steps))

    @property
    def computed_tokens(self) -> int:
        """Tokens whose keys and values are in memory."""
        if self.counter is None:
            return self.prefilled_tokens
        return self.prompt_tokens + self.emitted_tokens - 1

    def known_tokens(self, ahead: int = 0) -> int:
        """Tokens whose keys and values are in memory, and which its engine has seen, once `ahead` more steps began."""
        if self.counter is None:
            return self.prefilled_tokens - self.behind_tokens
        if self.pace is None:
            return self.prompt_tokens + self.emitted_tokens - 1 + ahead
        return self.pace.known_tokens(self.counter.steps - self.joined_step, ahead)

    @property
    def reserved_tokens(self) -> int:
        """Tokens that it has memory for: more than it has in memory, where it speculates."""
        if self.counter is None:
            return self.prefilled_tokens + self.ahead_tokens
        if self.pace is None:
            return self.computed_tokens
        return self.pace.reserved_tokens(self.counter.steps - self.joined_step)

    @property
    def tokens_to_prefill(self) -> int:
        """Tokens to compute before the next one can be emitted; 0 while decoding or held."""
        if self.counter is not None or self.held:
            return 0
        return self.prompt_tokens + self.emitted_before - self.prefilled_tokens

    def __repr__(self) -> str:
        return f"Request({self.id}, prompt {self.prompt_tokens}, emitted {self.emitted_tokens})"
