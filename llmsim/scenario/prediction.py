"""The table of a scenario that says what policies are told of output lengths."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llmsim.quantities import Count, NotNegative
from llmsim.scenario.table import Table


class NoPrediction(Table):
    """Policies know nothing of output lengths."""

    predictor: Literal["none"] = "none"

    @property
    def is_oracle(self) -> bool:
        """Whether policies are told the truth."""
        return False


class OraclePrediction(Table):
    """Policies are told the true output lengths: what no deployment has, a bound for those that predict."""

    predictor: Literal["oracle"]

    @property
    def is_oracle(self) -> bool:
        """Whether policies are told the truth."""
        return True


class NoisyPrediction(Table):
    """The true length times exp(sigma Z), Z standard normal: as often too long as too short."""

    predictor: Literal["noisy"]
    #: standard deviation of the error's logarithm: 0 is the oracle; at 0.7 one in three is half or double, or worse
    sigma: Annotated[NotNegative, Field(le=5)]

    @property
    def is_oracle(self) -> bool:
        """Whether policies are told the truth."""
        return self.sigma == 0


class BucketedPrediction(Table):
    """A class of lengths, told by the geometric middle of its ends; chosen by a noisy length as above."""

    predictor: Literal["bucketed"]
    #: the longest length of each bucket; longer ones are in one bucket more
    edges_tokens: Annotated[list[Count], Field(min_length=1, max_length=10_000)]
    #: 0: it is always the right bucket
    sigma: Annotated[NotNegative, Field(le=5)] = 0.0

    @model_validator(mode="after")
    def _ascending(self) -> BucketedPrediction:
        if self.edges_tokens != sorted(set(self.edges_tokens)):
            raise ValueError("edges_tokens must grow from bucket to bucket")
        return self

    @property
    def is_oracle(self) -> bool:
        """Whether policies are told the truth."""
        return False


PredictionTable = Annotated[
    NoPrediction | OraclePrediction | NoisyPrediction | BucketedPrediction, Field(discriminator="predictor")
]
