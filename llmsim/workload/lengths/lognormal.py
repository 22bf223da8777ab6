"""Independent log-normal lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.quantities import Count, MeanTokens, Positive
from llmsim.workload.arguments import positive, whole
from llmsim.workload.length_source import Lengths, LengthSource, Tokens

MOST_TOKENS = 2**53  #: beyond it, a double no longer holds every whole number


@dataclass(frozen=True)
class Lognormal(LengthSource):
    """Log-normal lengths with these means and coefficients of variation (CV).

    sigma^2 = ln(1 + cv^2), mu = ln(mean) - sigma^2 / 2. Draws beyond a bound are set to it, which shifts the mean.
    """

    prompt_mean_tokens: MeanTokens  #: mean length of prompts
    output_mean_tokens: MeanTokens  #: mean length of outputs
    prompt_cv: Positive = 1.0  #: coefficient of variation of the prompts' lengths
    output_cv: Positive = 1.0  #: coefficient of variation of the outputs' lengths
    prompt_min_tokens: Count = 1  #: shorter draws are set to it
    prompt_max_tokens: Count | None = None  #: longer draws are set to it
    output_min_tokens: Count = 1  #: shorter draws are set to it
    output_max_tokens: Count | None = None  #: longer draws are set to it

    @classmethod
    def examples(cls) -> Sequence[Lognormal]:
        """Free, and between bounds."""
        bounded = cls(500.0, 100.0, 2.0, 0.5, prompt_max_tokens=600, output_min_tokens=90)
        return cls(prompt_mean_tokens=500.0, output_mean_tokens=100.0), bounded

    def tokens(self, rng: np.random.Generator, requests: int) -> Lengths:
        """Draw both from one table of normal numbers, shape (requests, 2)."""
        z = rng.standard_normal((whole("requests", requests), 2))
        prompt = _lognormal(z[:, 0], "prompt", self.prompt_mean_tokens, self.prompt_cv)
        output = _lognormal(z[:, 1], "output", self.output_mean_tokens, self.output_cv)
        return (
            _bounded(prompt, "prompt", self.prompt_min_tokens, self.prompt_max_tokens),
            _bounded(output, "output", self.output_min_tokens, self.output_max_tokens),
        )


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
