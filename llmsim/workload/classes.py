"""Classes of requests: what each asks for, drawn by weight, told by the length of the prompt, or with own arrivals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.request import Request
from llmsim.slo import Slo
from llmsim.workload.sessions import Sessions

Ints = NDArray[np.int64]
#: where a request is in its conversation; "later": neither, or what no class has
Stage = Literal["first", "later", "last"]


@dataclass(frozen=True, eq=False)
class Classes:
    """The class of each request, and what the classes are."""

    of_request: NDArray[np.int64]  #: (requests,) number of its class
    names: tuple[str, ...]
    priorities: tuple[int, ...]  #: of each class, as in vLLM: the lower value goes first
    tenants: tuple[str, ...] = ()  #: whose the requests of each class are; (): each class is a tenant of its own
    slos: tuple[Slo, ...] = ()  #: what clients of each class declare; (): nothing

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise InputError(f"classes {', '.join(self.names)}: expected names that differ")
        if len(self.priorities) != len(self.names):
            raise InputError(f"{len(self.priorities)} priorities for {len(self.names)} classes")
        for what, values in (("tenants", self.tenants), ("SLOs", self.slos)):
            if values and len(values) != len(self.names):
                raise InputError(f"{len(values)} {what} for {len(self.names)} classes")

    @property
    def tenant_of(self) -> tuple[str, ...]:
        """The tenant of each class."""
        return self.tenants or self.names

    def tell(self, request: Request) -> None:
        """Put on a request what a cluster knows of its class."""
        number = self.of_request[request.id]
        request.priority = self.priorities[number]
        request.tenant = self.tenant_of[number]
        if self.slos:
            request.slo = self.slos[number]

    @property
    def priority(self) -> NDArray[np.int64]:
        """The priority of each request, (requests,)."""
        return np.array(self.priorities, dtype=np.int64)[self.of_request]


def draw(rng: np.random.Generator, requests: int, weights: Sequence[float]) -> NDArray[np.int64]:
    """Draw the number of each request's class, (requests,), in proportion to the weights."""
    bounds = np.cumsum(weights) / np.sum(weights)
    return np.searchsorted(bounds[:-1], rng.random(requests), side="right")


def merged(times_s: Sequence[NDArray[np.float64]], requests: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Join the arrivals of classes, each ascending: the first `requests` of all, and the class of each, (requests,).

    At equal times the class of the lower number comes first.
    """
    numbers = np.repeat(np.arange(len(times_s)), [len(times) for times in times_s])
    together = np.concatenate(times_s)
    order = np.argsort(together, kind="stable")[:requests]
    return together[order], numbers[order]


def by_prompt(prompt_tokens: NDArray[np.int64], longest: Sequence[int]) -> NDArray[np.int64]:
    """Tell classes by prompts: class k has those up to `longest[k]` tokens, ascending, and one class more the rest."""
    return np.searchsorted(np.asarray(longest), prompt_tokens, side="left")


def by_stage(sessions: Sessions, stages: Sequence[Stage]) -> NDArray[np.int64]:
    """Tell classes by the place of a request in its conversation; a lone request is the last one, if a class has it."""
    number = np.full(len(sessions), stages.index("later"))
    if "first" in stages:
        number[sessions.turn == 0] = stages.index("first")
    if "last" in stages:
        number[sessions.turn + 1 == sessions.turns] = stages.index("last")
    return number
