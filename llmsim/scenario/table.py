"""What the tables of a scenario have in common: strictness, and ranges of numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

LEAST, MOST = 1e-9, 1e12  #: beyond them, sums and squares of doubles lose what they are for


def _sane(value: float) -> float:
    if value and not LEAST <= value <= MOST:
        raise ValueError(f"{value:g}: expected a number from {LEAST:g} to {MOST:g}")
    return value


Positive = Annotated[float, Field(gt=0), AfterValidator(_sane)]
NotNegative = Annotated[float, Field(ge=0), AfterValidator(_sane)]
Count = Annotated[int, Field(ge=1, le=10**9)]
MeanTokens = Annotated[float, Field(gt=0, le=1e9), AfterValidator(_sane)]


class Table(BaseModel):
    """A TOML table: frozen, strictly typed, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)
