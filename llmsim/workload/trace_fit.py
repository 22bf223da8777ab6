"""A [workload] table that resembles a trace: gamma gaps and lognormal lengths of its means and variations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.workload.contract import Workload

_LEAST = 1e-3  # a variation of 0 has no gamma or lognormal distribution


@dataclass(frozen=True, slots=True)
class Fit:
    """Means and coefficients of variation (CV) of a trace."""

    requests: int
    rate_per_s: float
    gap_cv: float
    prompt_mean_tokens: float
    prompt_cv: float
    output_mean_tokens: float
    output_cv: float

    def to_toml(self) -> str:
        """Return the [workload] table: keys of `arrivals = gamma` and `lengths = lognormal`."""
        return (
            "[workload]\n"
            f"requests = {self.requests}\n"
            f'arrivals = {{ process = "gamma", rate_per_s = {self.rate_per_s:.6g}, '
            f"burstiness = {self.gap_cv**-2:.6g} }}\n"
            f'lengths = {{ source = "lognormal", prompt_mean_tokens = {self.prompt_mean_tokens:.6g}, '
            f"prompt_cv = {self.prompt_cv:.6g}, output_mean_tokens = {self.output_mean_tokens:.6g}, "
            f"output_cv = {self.output_cv:.6g} }}\n"
        )


def fit(workload: Workload) -> Fit:
    """Match the first two moments of gaps and lengths; InputError if there are no gaps."""
    gaps_s = np.diff(workload.arrival_s)
    if len(gaps_s) == 0 or gaps_s.mean() == 0:
        raise InputError(f"{workload.source}: all requests arrive at once, so there is no rate to fit")
    return Fit(
        len(workload),
        1.0 / float(gaps_s.mean()),
        _cv(gaps_s),
        float(workload.prompt_tokens.mean()),
        _cv(workload.prompt_tokens),
        float(workload.output_tokens.mean()),
        _cv(workload.output_tokens),
    )


def _cv(values: NDArray[np.float64] | NDArray[np.int64]) -> float:
    return max(float(values.std() / values.mean()), _LEAST)
