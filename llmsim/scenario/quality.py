"""The table of a scenario that says how good the answers of its models are: drawn, or read from the trace."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from llmsim.quantities import NotNegative
from llmsim.scenario.table import Table

Skill = Annotated[float, Field(ge=0, le=1)]


class QualityTable(Table):
    """What answers are worth, 0 to 1, by model: `skill` to draw them, or `columns` of the trace."""

    #: model -> share of the requests that it answers right, where noise is 0: what it fails at, less skilled ones do
    skill: dict[str, Skill] = Field(default_factory=dict)
    #: how much chance there is in which model answers what: standard deviation, in units of skill
    noise: NotNegative = 0.0
    #: model -> column of the trace with what its answers are worth
    columns: dict[str, str] = Field(default_factory=dict)
    #: standard deviation of what routers are told of an answer's worth around the truth; 0: an oracle
    prediction_error: NotNegative = 0.0

    @model_validator(mode="after")
    def _one_source(self) -> QualityTable:
        if bool(self.skill) == bool(self.columns):
            both = "skill and columns exclude each other; give one" if self.skill else "expected skill or columns"
            raise ValueError(f"{both}: how good each model's answers are, by its name")
        if self.columns and self.noise:
            raise ValueError("noise is that of drawn answers; columns of a trace have none")
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """The models, in order of the file."""
        return tuple(self.skill or self.columns)
