"""Classes of requests: how urgent each is, drawn by weight or told by the length of the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError


@dataclass(frozen=True, eq=False)
class Classes:
    """The class of each request, and what the classes are."""

    of_request: NDArray[np.int64]  #: (requests,) number of its class
    names: tuple[str, ...]
    priorities: tuple[int, ...]  #: of each class, as in vLLM: the lower value goes first

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise InputError(f"classes {', '.join(self.names)}: expected names that differ")
        if len(self.priorities) != len(self.names):
            raise InputError(f"{len(self.priorities)} priorities for {len(self.names)} classes")

    @property
    def priority(self) -> NDArray[np.int64]:
        """The priority of each request, (requests,)."""
        return np.array(self.priorities, dtype=np.int64)[self.of_request]


def draw(rng: np.random.Generator, requests: int, weights: Sequence[float]) -> NDArray[np.int64]:
    """Draw the number of each request's class, (requests,), in proportion to the weights."""
    bounds = np.cumsum(weights) / np.sum(weights)
    return np.searchsorted(bounds[:-1], rng.random(requests), side="right")


def by_prompt(prompt_tokens: NDArray[np.int64], longest: Sequence[int]) -> NDArray[np.int64]:
    """Tell classes by prompts: class k has those up to `longest[k]` tokens, ascending, and one class more the rest."""
    return np.searchsorted(np.asarray(longest), prompt_tokens, side="left")
