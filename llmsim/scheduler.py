"""The contract of a scheduler: read a view of one instance, return a decision.

A scheduler is a frozen dataclass whose fields are its options. It keeps no state, reads no clock and
draws no random numbers, so that the same view always gives the same decision.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from math import isnan
from numbers import Real
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from llmsim.errors import InputError
from llmsim.request import RequestView
from llmsim.waiting import ArrivalQueue, WaitingQueue

NO_CHUNKS: Mapping[int, int] = MappingProxyType({})


class Decision(NamedTuple):
    """What the next step does differently from plain decoding, in which every running request emits one token.

    A decision without prefill stands until something other than plain decoding happens: an arrival, a
    finish, memory for the next step running out, a cancel, or `review_at_s`.
    """

    #: request id -> tokens to prefill in this step; waiting requests are admitted in this order, and what the prefix
    #: cache spares them beyond that is not computed
    prefill: Mapping[int, int] = NO_CHUNKS
    #: False: a prefill-only step, in which no request decodes (engines that run whole prompts first)
    decode: bool = True
    #: running requests that keep their memory but sit this step out
    hold: frozenset[int] = frozenset()
    #: requests that give their memory back and go to the head of the queue, the last one first in line
    preempt: tuple[int, ...] = ()
    #: under asynchronous scheduling: requests that are preempted lose their token in flight, as in SGLang
    loses_in_flight: bool = False
    #: the running requests that go on, in this order from now on; empty: as they are
    order: tuple[int, ...] = ()
    #: waiting requests whose cached prefixes were looked for, in this order, and in how many of their first tokens: a
    #: cache that evicts what was not used for longest counts it as use
    looked_up: tuple[tuple[int, int], ...] = ()
    #: what the scheduler wants to be told at its next decision here (`InstanceView.notes`); None: the same as before
    notes: object = None
    #: decoding request -> tokens that it drafts in each step from now on; the others go on as they are, and one that
    #: comes to decode drafts as many as the engine has it (`Scheduler.chooses_drafts`)
    drafts: Mapping[int, int] = NO_CHUNKS
    #: requests that the server gives up
    abandon: frozenset[int] = frozenset()
    #: ask again at the first step boundary at or after this time, even if nothing has changed
    review_at_s: float | None = None


#: nothing special: all running requests decode
DECODE = Decision()
_NOTHING_ELSE = DECODE[1:]


def to_prefill(prefill: Mapping[int, int]) -> Decision:
    """Return ``Decision(prefill)`` at a third of its cost."""
    return tuple.__new__(Decision, (prefill,) + _NOTHING_ELSE)  # noqa: RUF005 - in a third of the time


Schedule = TypeVar("Schedule", bound=Callable[..., Decision])


def decodes_by_itself(schedule: Schedule) -> Schedule:
    """Declare that `schedule` returns `DECODE` if no request waits or prefills and the next step's KV blocks are free.

    The engine may then skip the call. Not inherited by subclasses that override `schedule`.
    """
    schedule.decodes_by_itself = schedule  # type: ignore[attr-defined]  # itself: a wrapper with a copy of this is asked
    return schedule


class Admission(Protocol):
    """What waiting requests find in the prefix cache, admitted one after another in one step."""

    def found(self, request: RequestView) -> tuple[int, int]:
        """Return the tokens that a waiting request need not compute, and how many of their blocks are in use.

        These blocks cost nothing; the others count as free until the request is admitted. Without prefix caching
        both numbers are 0.
        """

    def add(self, request: RequestView, tokens: int) -> None:
        """Go on from where this request computes so many tokens in this step."""


class Beginnings(Protocol):
    """Requests whose beginnings are compared with each other."""

    def longest(self, request: RequestView) -> int:
        """Return how many tokens a request has in common with one of those that were added, at most."""

    def add(self, request: RequestView) -> None:
        """Compare later ones with this one, too."""


class InstanceLimits(Protocol):
    """What never changes about an instance."""

    @property
    def max_model_len(self) -> int:
        """The most tokens, prompt and output, that a request may have."""

    @property
    def block_tokens(self) -> int:
        """Tokens in a KV block."""

    @property
    def total_blocks(self) -> int:
        """KV blocks of the instance."""

    @property
    def caches_prefixes(self) -> bool:
        """Whether there is a prefix cache."""

    def blocks_for(self, tokens: int) -> int:
        """KV blocks that hold this many tokens of one request."""


class InstanceView(InstanceLimits, Protocol):
    """What a policy may read of an instance: what a real engine knows at a step boundary."""

    @property
    def now_s(self) -> float:
        """Start of the step to be decided, seconds."""

    @property
    def notes(self) -> Any:
        """What this scheduler's latest decision here has noted; None at first."""

    @property
    def worked_until_s(self) -> float:
        """When the latest step ended, seconds; minus infinity before the first. Before `now_s`: it has been idle."""

    @property
    def decode_steps(self) -> int:
        """Steps so far in which requests decoded."""

    @property
    def waiting(self) -> Iterable[RequestView]:
        """Requests without memory, in the order of the scheduler's queue: preempted ones first, then by arrival.

        Looking at the first few costs no more than these few.
        """

    @property
    def num_waiting(self) -> int:
        """How many wait."""

    @property
    def prefilling(self) -> Iterable[RequestView]:
        """Admitted requests whose prefill is not complete, in order of admission."""

    @property
    def num_prefilling(self) -> int:
        """How many admitted requests still prefill."""

    @property
    def running(self) -> Iterable[RequestView]:
        """All admitted requests, in order of admission. Walking it costs O(running): prefer the counts."""

    @property
    def decoding(self) -> Iterable[RequestView]:
        """Admitted requests that emit a token in each step at present: not those that prefill, or are held."""

    @property
    def held(self) -> Set[int]:
        """Ids of the requests that the latest decision holds."""

    @property
    def running_latest_first(self) -> Iterable[RequestView]:
        """All admitted requests, the latest admitted first."""

    @property
    def num_running(self) -> int:
        """How many are admitted: prefilling, decoding or held."""

    @property
    def num_decoding(self) -> int:
        """How many have their prefill complete, held ones included."""

    @property
    def query_tokens(self) -> int:
        """Tokens that each decoding request computes in the next step: one, and those that were drafted for it.

        Where a policy `chooses_drafts`, of those of which it has not decided anything.
        """

    @property
    def free_blocks(self) -> int:
        """KV blocks that no request holds, those with a cached prefix included."""

    @property
    def decode_blocks(self) -> int:
        """KV blocks that the next step takes if every decoding request emits a token."""

    def step_time_s(
        self,
        prefill: Sequence[tuple[int, int]],
        decoding: int,
        context_tokens: int,
        drafts: Mapping[int, int] = NO_CHUNKS,
    ) -> float:
        """Seconds that a step takes by what has been measured of this instance (`latency.contract.LatencyModel`).

        `prefill`: (tokens computed already, tokens to compute) of each chunk; `context_tokens`: those that the decoding
        sequences attend to, their new ones included, without drafted ones, over all of them; `drafts`: how many of them
        draft how many tokens (tokens -> sequences), none if empty. Different numbers: only where the policy
        `chooses_drafts`.
        """

    def blocks_held(self, request: RequestView) -> int:
        """KV blocks that a request holds, alone or with others."""

    def blocks_freed(self, victims: Sequence[RequestView]) -> int:
        """KV blocks that become free if all of these running requests are preempted."""

    def admission(self, prefill: Mapping[int, int] = NO_CHUNKS, decode: bool = True) -> Admission:
        """Ask what waiting requests find, beside running ones that compute the chunks of `prefill` in this step."""

    def cached_tokens(self, request: RequestView, tokens: int | None = None) -> int:
        """Tokens that a waiting request would find in the prefix cache if it were admitted now.

        With `tokens`: of its first so many, of which the last may count as well.
        """

    def beginnings(self) -> Beginnings:
        """Compare requests with each other, as a prefix cache would."""

    def tokens_in_flight(self, request: RequestView) -> int:
        """Tokens (0 or 1) of a running request that count as emitted though the GPU still computes them.

        Only under asynchronous scheduling.
        """

    def blocks_to_decode(self, request: RequestView) -> int:
        """KV blocks (0 or 1) that a decoding request takes in the next step."""

    def rests(self, request: RequestView) -> bool:
        """Whether a running request takes no part in the next step, but keeps its seat and its memory.

        So it is under asynchronous scheduling, if the last token of the request is being computed.
        """


class Scheduler(ABC):
    """One policy: one file in llmsim/schedulers/, named after the policy, with one subclass of this."""

    #: True: ask before every step. Costs the speed of stretches; for policies that change their mind unprompted.
    asks_every_step: bool = False
    #: True: reads `predicted_output_tokens`, and cannot do without
    needs_prediction: bool = False
    #: True: reads `request.slo`, and cannot do without bounds on the first token and on the time per token
    needs_slo: bool = False
    #: True: declines requests, for good: routers may ask it before (`accepts`)
    declines: bool = False
    #: True: shares service out between tenants, and cannot do without
    needs_tenants: bool = False
    #: True: goes by what it decided of a request before, or served it: requests must stay from prompt to last token
    needs_whole_requests: bool = False
    #: whether its engine decides a step while the one before it runs, unless a scenario says otherwise
    async_scheduling: bool = False
    #: KV blocks, of those that fit into memory, that its engine keeps for itself: vLLM's null block
    null_blocks: int = 0
    #: whether it counts what decoding requests draft (`InstanceView.query_tokens`)
    honours_speculation: bool = False
    #: True: decides how many tokens each request drafts, where requests speculate (`Decision.drafts`)
    chooses_drafts: bool = False
    #: True: cannot do without speculation
    needs_speculation: bool = False
    #: what caches prefixes where there is a cache: vLLM's hashed blocks, or SGLang's radix tree
    prefix_cache: Literal["blocks", "radix"] = "blocks"

    @abstractmethod
    def schedule(self, view: InstanceView) -> Decision:
        """Decide the next step."""

    def new_queue(self) -> WaitingQueue:
        """Return an empty queue for an instance: it decides the order of `InstanceView.waiting`.

        As it is here: first come first served, and preempted requests to the head. A policy with another order returns
        a `SortedQueue` of its own key, and need never sort.
        """
        return ArrivalQueue()

    def on_gpu(self, memory_bytes: int) -> Scheduler:
        """Return this policy with the options that were left out as its engine sets them on a GPU of such memory."""
        return self

    @property
    def most_running(self) -> int | None:
        """Most requests that this policy lets run at once; None: no such limit. For those that come from elsewhere."""
        return None

    def tenants_named(self) -> Sequence[str]:
        """Return the names of tenants that its options hold: the scenario must have them."""
        return ()

    def accepts(self, request: RequestView, view: InstanceView) -> bool:
        """Whether a request that comes to this instance now would be accepted, and not declined (`declines`)."""
        return True

    def why_never(self, request: RequestView, limits: InstanceLimits) -> str | None:
        """Return why this policy can never serve a request that has just arrived (it is then rejected), or None.

        A request that could be served, but not now, waits; `schedule` may abandon it. Reading more than the limits
        raises `PolicyError`.
        """
        return None


class Around(Scheduler):
    """Passes another scheduler through, with all that it declares: a subclass changes what it decides, or watches."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        for declared in Scheduler.__annotations__:
            setattr(self, declared, getattr(scheduler, declared))

    @property
    def most_running(self) -> int | None:
        """Ask the other scheduler."""
        return self.scheduler.most_running

    def new_queue(self) -> WaitingQueue:
        """Let the other scheduler order the queue."""
        return self.scheduler.new_queue()

    def accepts(self, request: RequestView, view: InstanceView) -> bool:
        """Ask the other scheduler."""
        return self.scheduler.accepts(request, view)

    def why_never(self, request: RequestView, limits: InstanceLimits) -> str | None:
        """Ask the other scheduler."""
        return self.scheduler.why_never(request, limits)


def positive(**options: float | None) -> None:
    """Raise InputError for an option that is not above zero; None is left alone."""
    for name, value in options.items():
        if value is not None and not value > 0:
            raise InputError(f"{name} is {value}, expected more than 0")


def share(**options: float) -> None:
    """Raise InputError for an option that is not a share: from 0 up to, but not including, 1."""
    for name, value in options.items():
        if not 0 <= value < 1:
            raise InputError(f"{name} is {value}, expected a share: at least 0 and less than 1")


def no_nan(policy: object) -> None:
    """Raise InputError for an option of a policy that is NaN, or holds one: no comparison with it would say anything.

    Options of a scenario are checked as they are read; those of a policy that is made in Python come here first.
    """
    while isinstance(policy, Around):
        policy = policy.scheduler
    for option in fields(policy) if is_dataclass(policy) else ():
        value = getattr(policy, option.name)
        many = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(one, Real) and isnan(one) for one in many):
            raise InputError(f"{type(policy).__name__}: {option.name} is {value}, expected a number")


def latest_to_preempt(
    view: InstanceView,
    prefill_blocks: Mapping[int, int] = NO_CHUNKS,
    key: Callable[[RequestView], tuple[Any, ...]] | None = None,
) -> tuple[int, ...]:
    """Return the requests to preempt, the latest admitted first, so that the next step's KV blocks fit.

    `prefill_blocks`: request id -> blocks that the step takes for its chunk; all others decode. With a `key`, the
    greatest goes first instead of the latest.
    """
    needed = view.decode_blocks + sum(prefill_blocks.values())
    free = view.free_blocks
    if needed <= free:
        return ()
    victims: list[RequestView] = []
    for request in view.running_latest_first if key is None else sorted(view.running, key=key, reverse=True):
        victims.append(request)
        needed -= prefill_blocks.get(request.id, view.blocks_to_decode(request))
        if needed <= free + view.blocks_freed(victims):
            break
    return tuple(request.id for request in victims)
