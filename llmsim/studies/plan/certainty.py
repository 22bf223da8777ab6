"""How sure an answer is of the model: until what error of the step times it holds, and how probable less than that is.

The error is one factor for all steps of a run. Its logarithm has the quantiles that Student's t predicts for one more
model and GPU from those that were measured for this kind of step times (`llmsim.latency.residuals`). The answer's
cluster runs again with factors at quantiles of that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmsim.latency.residuals import RESIDUALS, SOURCE, Kind, Residual

#: quantiles of the factor at which a cluster is run again
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
#: the cluster that carries the load even so is named
SAFE = 0.95


@dataclass(frozen=True, slots=True)
class ModelCertainty:
    """What an error of the step times does to an answer."""

    kind: Kind
    holds: float  #: quantile of the error up to which the answer holds
    factor: float  #: step times times this at `holds`; 1 or more
    probability: float  #: that the answer holds, with the error of step times and that of seeds
    safe_instances: int | None = None  #: carry the load at `safe_factor`, too; None: not looked for, or not found
    safe_factor: float = math.nan

    def __str__(self) -> str:
        residual = RESIDUALS[self.kind]
        slower = f"{100 * (math.exp(residual.mean) - 1):+.0f} % in the mean, deviation {100 * residual.deviation:.0f} %"
        held = f"it holds with step times up to x {self.factor:.2f}"
        safe = ""
        if self.safe_instances is not None:
            safe = f"; {self.safe_instances} are enough even at x {self.safe_factor:.2f}"
        return f"with the error of {self.kind} ({slower}; {SOURCE}): P = {self.probability:.2f}, {held}{safe}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        residual = RESIDUALS[self.kind]
        return {
            "step_times": str(self.kind),
            "source": SOURCE,
            "error_mean": residual.mean,
            "error_deviation": residual.deviation,
            "holds_up_to_quantile": self.holds,
            "step_time_factor": self.factor,
            "probability": self.probability,
            "safe_instances": self.safe_instances,
            "safe_step_time_factor": None if math.isnan(self.safe_factor) else self.safe_factor,
        }


def factor_at(residual: Residual, quantile: float) -> float:
    """The factor on step times that the error does not exceed with this probability, to three digits."""
    return float(f"{math.exp(residual.quantile(quantile)):.3g}")


def model_certainty(
    kind: Kind, seeds: float, holds: Callable[[float], bool], safe: Callable[[float], int | None]
) -> ModelCertainty:
    """Bisect the quantiles for the last factor at which an answer holds; with the step times as they are it does.

    `seeds` is its probability with exact step times, `holds` whether it carries its load at a factor, `safe` finds the
    instances that do at another.
    """
    residual = RESIDUALS[kind]
    slower = [(quantile, factor_at(residual, quantile)) for quantile in QUANTILES]
    points = [(residual.probability(0.0), 1.0), *((quantile, factor) for quantile, factor in slower if factor > 1)]
    low, high = 0, len(points)
    while high - low > 1:
        middle = (low + high) // 2
        if holds(points[middle][1]):
            low = middle
        else:
            high = middle
    held, factor = points[low]
    safe_factor = factor_at(residual, SAFE)
    return ModelCertainty(kind, held, factor, held * seeds, None if held >= SAFE else safe(safe_factor), safe_factor)
