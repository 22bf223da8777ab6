"""Length sources: how many tokens a request has in its prompt and its output.

Each is ``f(rng, requests, **options)`` and returns (prompt_tokens, output_tokens): two arrays of whole
numbers, at least 1, shape (requests,). More requests from the same stream begin with the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.workload.arguments import positive, whole
from llmsim.workload.quantile_table import TABLES, load_table

MOST_TOKENS = 2**53  #: beyond it, a double no longer holds every whole number
Tokens = NDArray[np.int64]
Lengths = tuple[Tokens, Tokens]


def fixed(rng: np.random.Generator, requests: int, *, prompt_tokens: int, output_tokens: int) -> Lengths:
    """Every request alike; draws nothing from `rng`."""
    n = whole("requests", requests)
    return (
        np.full(n, whole("prompt_tokens", prompt_tokens), np.int64),
        np.full(n, whole("output_tokens", output_tokens), np.int64),
    )


def lognormal(
    rng: np.random.Generator,
    requests: int,
    *,
    prompt_mean_tokens: float,
    prompt_cv: float,
    output_mean_tokens: float,
    output_cv: float,
    prompt_min_tokens: int = 1,
    prompt_max_tokens: int | None = None,
    output_min_tokens: int = 1,
    output_max_tokens: int | None = None,
) -> Lengths:
    """Independent log-normal lengths with these means and coefficients of variation.

    sigma^2 = ln(1 + cv^2), mu = ln(mean) - sigma^2 / 2. Draws beyond a bound are set to it,
    which shifts the mean.
    """
    z = rng.standard_normal((whole("requests", requests), 2))
    prompt = _lognormal(z[:, 0], "prompt", prompt_mean_tokens, prompt_cv)
    output = _lognormal(z[:, 1], "output", output_mean_tokens, output_cv)
    return (
        _bounded(prompt, "prompt", prompt_min_tokens, prompt_max_tokens),
        _bounded(output, "output", output_min_tokens, output_max_tokens),
    )


def from_quantiles(rng: np.random.Generator, requests: int, *, name: str) -> Lengths:
    """Lengths of real traffic, drawn from the quantile table of this name (see `quantile_table.TABLES`)."""
    return load_table(name).draw(rng, whole("requests", requests))


def _lognormal(z: NDArray[np.float64], side: str, mean: float, cv: float) -> NDArray[np.float64]:
    variance = math.log1p(positive(f"{side}_cv", cv) ** 2)
    mu = math.log(positive(f"{side}_mean_tokens", mean)) - variance / 2
    return np.exp(mu + math.sqrt(variance) * z)


def _bounded(tokens: NDArray[np.float64], side: str, low: int, high: int | None) -> Tokens:
    whole(f"{side}_min_tokens", low)
    if high is not None and whole(f"{side}_max_tokens", high) < low:
        raise InputError(f"{side}_max_tokens = {high}: expected at least {side}_min_tokens = {low}")
    most = MOST_TOKENS if high is None else min(high, MOST_TOKENS)
    return np.clip(np.rint(tokens), low, most).astype(np.int64)


def _table_source(name: str) -> Callable[..., Lengths]:
    def draw(rng: np.random.Generator, requests: int) -> Lengths:
        return from_quantiles(rng, requests, name=name)

    return draw


SOURCES: Mapping[str, Callable[..., Lengths]] = {
    "fixed": fixed,
    "lognormal": lognormal,
    **{name: _table_source(name) for name in TABLES},
}
