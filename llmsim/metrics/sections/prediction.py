"""What policies were told of output lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from llmsim.metrics.kpi import LESS, Kpi, Section


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Prediction(Section):
    """How output lengths were predicted, whether that was the truth, and how far off it was, over all requests."""

    key: ClassVar[str] = "prediction"
    compared: ClassVar[bool] = False

    predictor: str
    edges_tokens: Sequence[int] | None = None
    sigma: Annotated[float | None, Kpi("sigma of predicted lengths", kind="basis")] = None
    oracle: bool = False
    mean_absolute_error_tokens: Annotated[float | None, Kpi("error of predicted lengths", "tokens", "count", LESS)]
