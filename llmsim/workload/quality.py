"""How good the answers of several models would be: drawn or read once for each request, whichever model serves it.

A request has a difficulty d, uniform on [0, 1], and a model answers it right if its skill exceeds d by more than
noise x Z, Z standard normal and another for each model; or a trace says how good each answer was (as RouterBench does,
arXiv 2403.12031). Routers are told predictions, the truth with an error, and never the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmsim.request import Request
from llmsim.workload.arguments import not_negative

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Quality:
    """What the answers of M models to N requests are worth, and what routers are told of it."""

    models: tuple[str, ...]
    values: Floats  #: (N, M) 0 to 1
    predicted: Floats  #: (N, M) the same with an error: may lie outside
    served_by: Mapping[str, int]  #: pool -> place of its model
    attempt: NDArray[np.int64]  #: (N,) how many models have answered in vain before

    @classmethod
    def of(cls, values: Floats, predicted: Floats, models: Sequence[str], served_by: Mapping[str, str]) -> Quality:
        """Make one for pools that serve these models."""
        places = {pool: list(models).index(model) for pool, model in served_by.items()}
        return cls(tuple(models), values, predicted, places, np.zeros(len(values), np.int64))

    def __len__(self) -> int:
        return len(self.values)

    def tell(self, request: Request) -> None:
        """Put on a request what routers are told of it."""
        of_models = self.predicted[request.id]
        request.predicted_quality = {pool: float(of_models[place]) for pool, place in self.served_by.items()}
        request.attempt = int(self.attempt[request.id])

    def take(self, index: NDArray[np.int64]) -> Quality:
        """Select requests; one that is selected several times in a row is so many attempts at it."""
        attempt = np.arange(len(index)) - np.searchsorted(index, index)
        return replace(self, values=self.values[index], predicted=self.predicted[index], attempt=attempt)

    def in_pool(self, pool: str) -> Floats:
        """What the answers of a pool are worth, (N,)."""
        return self.values[:, self.served_by[pool]]


def draw_answers(rng: np.random.Generator, requests: int, skills: Sequence[float], noise: float) -> Floats:
    """Draw which of so many requests each model answers right, 1.0 or 0.0, shape (requests, models)."""
    difficulty = rng.random((requests, 1))
    luck = not_negative("noise", noise) * rng.standard_normal((requests, len(skills)))
    return (np.asarray(skills) > difficulty + luck).astype(np.float64)


def predict_quality(rng: np.random.Generator, values: Floats, error: float) -> Floats:
    """Return what a predictor says of each answer: its quality and `error` times a standard normal number."""
    predicted: Floats = values + not_negative("prediction_error", error) * rng.standard_normal(values.shape)
    return predicted


@dataclass(frozen=True, eq=False)
class Escalation:
    """Which answers a judge sends on to the next model."""

    fails: NDArray[np.bool_]  #: (requests, models - 1) whether the answer of the first, second, ... would not do
    judge_s: float = 0.0  #: how long the judge takes, from the last token that the client has

    @property
    def attempts(self) -> int:
        """Most models that answer one request."""
        return int(self.fails.shape[1]) + 1


def judge_answers(rng: np.random.Generator, values: Floats, *, accept: float, error: float) -> NDArray[np.bool_]:
    """Say which answers fail, in their shape: those below `accept`, but that a judge errs with probability `error`."""
    return (values < accept) ^ (rng.random(values.shape) < error)
