"""Ranges of numbers that a scenario may say: types of the fields of its tables, and of options of what it names."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from llmsim.reading import MOST_REQUESTS

LEAST_SANE, MOST_SANE = 1e-9, 1e12  #: beyond them, sums and squares of doubles lose what they are for


def _sane(value: float) -> float:
    if value and not LEAST_SANE <= value <= MOST_SANE:
        raise ValueError(f"{value:g}: expected a number from {LEAST_SANE:g} to {MOST_SANE:g}")
    return value


Positive = Annotated[float, Field(gt=0), AfterValidator(_sane)]
NotNegative = Annotated[float, Field(ge=0), AfterValidator(_sane)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Requests = Annotated[int, Field(ge=1, le=MOST_REQUESTS)]
#: seconds from one look at a run to the next: each look is an event
Every = Annotated[float, Field(ge=1e-3), AfterValidator(_sane)]
MeanTokens = Annotated[float, Field(gt=0, le=1e9), AfterValidator(_sane)]
