"""What a scenario says of its requests beside when they come and how long they are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field, model_validator

from llmsim.scenario.table import Count, NotNegative, Positive, Table


class Slo(Table):
    """Bounds that a request must meet, all of those given, to count as served well."""

    ttft_s: Positive | None = None
    tbt_s: Positive | None = None
    tpot_s: Positive | None = None
    e2e_s: Positive | None = None

    @model_validator(mode="after")
    def _one_at_least(self) -> Slo:
        if all(bound is None for bound in self.__dict__.values()):
            raise ValueError("no bound; give at least one of ttft_s, tbt_s, tpot_s, e2e_s")
        return self


class RequestClass(Table):
    """Requests that are alike: chosen at random by `weight`, or by their prompts' lengths."""

    name: Annotated[str, Field(min_length=1)]
    #: as in vLLM: the lower value goes first
    priority: int = 0
    #: share of the requests, in proportion to the other classes' weights
    weight: Positive | None = None
    #: the longest prompt of this class, of those that no class before it takes; the last class has none
    max_prompt_tokens: Count | None = None
    #: what the score of this class goes by; left out: the scenario's [slo]
    slo: Slo | None = None


def _one_rule(classes: tuple[RequestClass, ...]) -> tuple[RequestClass, ...]:
    """Check that either all classes have weights, or all but the last one longer and longer prompts."""
    names = [each.name for each in classes]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two classes are called '{twice[0]}'; expected names that differ")
    weights = [each.weight for each in classes if each.weight is not None]
    longest = [each.max_prompt_tokens for each in classes if each.max_prompt_tokens is not None]
    if weights and longest:
        raise ValueError("weight and max_prompt_tokens exclude each other; give one of them to all classes")
    if longest:
        if [each.max_prompt_tokens for each in classes] != [*sorted(set(longest)), None]:
            raise ValueError("max_prompt_tokens must grow from class to class, and the last class have none")
    elif len(weights) != len(classes):
        raise ValueError("each class needs a weight, or each but the last max_prompt_tokens")
    return classes


Classes = Annotated[tuple[RequestClass, ...], Field(strict=False), AfterValidator(_one_rule)]


class ServeGenWorkload(Table):
    """Requests drawn for a population of clients: all, a window, or the first `limit` (alias `requests`) of that."""

    servegen: str = Field(description="give the folder or archive with --set workload.servegen=PATH")
    #: multiplies every client's rate; windows keep their lengths, gaps their CV
    rate_scale: Positive = 1.0
    start_s: NotNegative = 0.0
    duration_s: Positive | None = None
    limit: Count | None = Field(None, validation_alias=AliasChoices("limit", "requests"))
    classes: Classes = ()


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


Prediction = Annotated[
    NoPrediction | OraclePrediction | NoisyPrediction | BucketedPrediction, Field(discriminator="predictor")
]
