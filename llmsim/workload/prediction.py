"""Predicted output lengths: what a deployment's predictor would have told, drawn once for each request.

Policies see the prediction and never the truth. Its errors come from a stream of their own: a run with predictions
has the same requests as one without, and twice the error is twice the same errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError, nearest
from llmsim.workload.arguments import not_negative, whole

Tokens = NDArray[np.int64]

PREDICTORS = ("none", "oracle", "noisy", "bucketed")
#: no prediction is longer: far beyond every model, and exact in a double
MOST_TOKENS = 2.0**53


def predict(
    rng: np.random.Generator,
    output_tokens: Tokens,
    *,
    predictor: str,
    sigma: float = 0.0,
    edges_tokens: Sequence[int] = (),
) -> Tokens | None:
    """Return the predicted output length of each request, (requests,), at least 1; None for predictor "none".

    `noisy`: the true length times exp(sigma Z), Z standard normal, rounded. Its *median* is the true length, so it is
    too long as often as too short; its mean is exp(sigma² / 2) times as long. `bucketed`: the bucket of such a length,
    by its representative (`representatives`); with sigma 0 the bucket is always the right one. InputError for a
    predictor or numbers that make no sense.
    """
    if predictor not in PREDICTORS:
        raise InputError(f"unknown predictor '{predictor}'{nearest(predictor, PREDICTORS)}")
    if predictor == "none":
        return None
    if predictor == "oracle":
        return output_tokens.copy()
    factor = np.exp(not_negative("sigma", sigma) * rng.standard_normal(len(output_tokens)))
    noisy = np.clip(np.rint(output_tokens * factor), 1, MOST_TOKENS).astype(np.int64)
    if predictor == "noisy":
        return noisy
    middle = representatives(edges_tokens)
    return middle[np.searchsorted(np.asarray(edges_tokens), noisy, side="left")]


def representatives(edges_tokens: Sequence[int]) -> Tokens:
    """Return the length that stands for each bucket, (edges + 1,): the geometric middle of its ends, rounded.

    Edges are the longest lengths of their buckets, from 1 token on; the last bucket has no end, and its shortest length
    stands for it.
    """
    edges = [whole("edges_tokens", edge) for edge in edges_tokens]
    if not edges or any(b <= a for a, b in pairwise(edges)):
        raise InputError(f"edges_tokens = {list(edges_tokens)}: expected whole numbers, each above the one before")
    shortest = np.array([1, *(edge + 1 for edge in edges)], dtype=np.float64)
    longest = np.array([*edges, shortest[-1]])
    middle: Tokens = np.rint(np.sqrt(shortest * longest)).astype(np.int64)
    return middle
