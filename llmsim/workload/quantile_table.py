"""Quantile tables: the joint distribution of prompt and output lengths of real traffic, in a few kilobytes.

A table holds the quantiles of the prompt, and the quantiles of the output in each of several groups of like
prompt length (twentieths of the requests, here). That keeps both marginals and the dependence between them.
The shipped tables are in quantiles/, each with origin, licence and measured fidelity; `quantile_sources`
makes them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError, nearest

#: names of the shipped tables
TABLES = ("arxiv_summarization", "azure_code", "azure_conv", "sharegpt")

#: probabilities at which quantiles are kept: every half per cent, and closer in the upper tail
LEVELS = np.unique(np.concatenate([np.arange(201) / 200, [0.9975, 0.999, 0.9995]]))


@dataclass(frozen=True, eq=False)
class QuantileTable:
    """Quantiles at L levels: of the prompt, and of the output in each of G equal groups of prompt rank."""

    levels: NDArray[np.float64]  #: (L,) ascending from 0 to 1
    prompt_tokens: NDArray[np.float64]  #: (L,)
    output_tokens: NDArray[np.float64]  #: (G, L), groups in order of prompt length

    def draw(self, rng: np.random.Generator, requests: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw (prompt_tokens, output_tokens), linear between quantiles, rounded, at least 1."""
        u = rng.random((requests, 2))
        prompt = np.interp(u[:, 0], self.levels, self.prompt_tokens)
        group = (u[:, 0] * len(self.output_tokens)).astype(np.intp)
        cell = np.searchsorted(self.levels, u[:, 1], side="right") - 1
        low, high = self.output_tokens[group, cell], self.output_tokens[group, cell + 1]
        share = (u[:, 1] - self.levels[cell]) / (self.levels[cell + 1] - self.levels[cell])
        return _tokens(prompt), _tokens(low + share * (high - low))


def derive_quantiles(
    prompt_tokens: NDArray[np.int64], output_tokens: NDArray[np.int64], *, groups: int = 20
) -> QuantileTable:
    """Make a table from observed pairs, both of shape (requests,); quantiles are rounded to whole tokens.

    Hazen's definition of a quantile keeps the mean of small groups with long tails; NumPy's own lowers it.
    """
    order = np.argsort(prompt_tokens, kind="stable")
    by_group = [_quantiles(part) for part in np.array_split(output_tokens[order], groups)]
    return QuantileTable(LEVELS, _quantiles(prompt_tokens), np.array(by_group))


@cache
def load_table(name: str) -> QuantileTable:
    """Read a shipped table; raise InputError for an unknown name."""
    if name not in TABLES:
        raise InputError(f"unknown quantile table '{name}'{nearest(name, TABLES)}")
    content = json.loads(files("llmsim.workload").joinpath("quantiles", f"{name}.json").read_text("utf-8"))
    fields = ("levels", "prompt_tokens", "output_tokens")
    return QuantileTable(*(np.array(content[field], dtype=np.float64) for field in fields))


def _quantiles(tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.rint(np.quantile(tokens, LEVELS, method="hazen")))


def _tokens(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.maximum(np.rint(values), 1).astype(np.int64)
