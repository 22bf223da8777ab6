"""The contract of a router: which instance gets an arrival."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.request import RequestView


@dataclass(frozen=True)
class Benchmark:
    """The steps by which the speed of an instance was measured beforehand."""

    prompt_tokens: int = 2048  #: one prompt, alone
    sequences: int = 32  #: decoding together
    context_tokens: int = 1024  #: of each of them


BENCHMARK = Benchmark()


@dataclass(frozen=True)
class Judge:
    """What looks at the answers of a cascade, and sends the request to the next pool where one fails."""

    pools: Sequence[str]  #: in the order in which they are asked; the last one's answers are not judged
    accept: float  #: least quality of an answer that passes
    error: float  #: probability of saying the opposite
    takes_s: float  #: from an answer's last token to the verdict


class FleetView(Protocol):
    """What a router may read of the cluster.

    `outstanding`, `waiting`, `waiting_tokens`, `running` and `free_blocks`, of shape (size,) and read only, are as old
    as the scenario's reports, with the router's own sends since; or the present state, where reports have no age.
    """

    @property
    def now_s(self) -> float:
        """The clock, seconds."""

    @property
    def size(self) -> int:
        """How many instances there are; they are numbered from 0."""

    @property
    def routed(self) -> int:
        """How many requests have been routed so far."""

    @property
    def outstanding(self) -> NDArray[np.int64]:
        """Requests sent to each instance and not ended yet."""

    @property
    def waiting(self) -> NDArray[np.int64]:
        """Requests in the queue of each instance."""

    @property
    def waiting_tokens(self) -> NDArray[np.int64]:
        """Prompt tokens of the requests in the queue of each instance."""

    @property
    def running(self) -> NDArray[np.int64]:
        """Requests admitted by each instance."""

    @property
    def free_blocks(self) -> NDArray[np.int64]:
        """KV blocks that are free on each instance."""

    @property
    def pools(self) -> Mapping[str, NDArray[np.int64]]:
        """Numbers of the instances of each pool, in the order of the scenario."""

    @property
    def prefill_tokens_per_s(self) -> NDArray[np.float64]:
        """How fast each instance computes a prompt, measured beforehand (`BENCHMARK`), shape (size,)."""

    @property
    def decode_tokens_per_s(self) -> NDArray[np.float64]:
        """How fast each instance decodes, a whole batch together, measured beforehand (`BENCHMARK`), shape (size,)."""

    def cached_tokens(self, number: int, request: RequestView) -> int:
        """Tokens that a request would find in the prefix cache of an instance at this moment: news without age."""

    def accepts(self, number: int, request: RequestView) -> bool:
        """Whether the scheduler of an instance would accept a request now, and not decline it: news without age."""

    def cached(self, request: RequestView) -> NDArray[np.int64]:
        """Tokens that a request would find in the prefix cache of each instance at this moment, shape (size,).

        Costs as much as there are instances that may have any.
        """

    @property
    def rng(self) -> np.random.Generator:
        """The run's own stream of random numbers for routing."""


def check_pools(pools: Sequence[str]) -> None:
    """Raise InputError for pools from which there is nothing to choose; none at all are left alone."""
    if pools and (len(pools) < 2 or len(set(pools)) < len(pools)):
        raise InputError(f"pools = {list(pools)}, expected two or more, each once, the cheapest first")


class Router(ABC):
    """One policy: one file in llmsim/routers/, named after the policy, with one subclass of this."""

    #: what it looks at, so that results can say how old that is: "reports" (load, queue, memory), "caches" (prefixes),
    #: "plans" (what schedulers would accept).
    #: Empty: instances need not be up to date for it, which is faster; to look all the same raises `PolicyError`.
    reads: ClassVar[tuple[str, ...]] = ("reports",)

    #: True: asks schedulers what they would accept: at least one of them must decline requests
    needs_declining: ClassVar[bool] = False

    #: True: instances may serve requests of other kinds than their share of all: what one serves alone says nothing of
    #: several (`studies.plan.guess`)
    splits: ClassVar[bool] = False

    #: True: goes by how good the answers of models are: the scenario must say so
    needs_quality: ClassVar[bool] = False

    def pools_named(self) -> Mapping[str, Sequence[str]]:
        """Return the names of pools that its options hold, by option: the scenario must have them."""
        return {}

    def judge(self) -> Judge | None:
        """Return what judges answers, so that requests come again (`RequestView.attempt`); None: all answers pass."""
        return None

    @abstractmethod
    def route(self, request: RequestView, fleet: FleetView) -> int:
        """Return the number of the instance that serves this request."""


def least_outstanding(fleet: FleetView, pool: str | None) -> int:
    """Return the instance of a pool, or of all, with the fewest outstanding requests; of several the lowest number."""
    if pool is None:
        return int(fleet.outstanding.argmin())
    numbers = fleet.pools[pool]
    return int(numbers[fleet.outstanding[numbers].argmin()])
