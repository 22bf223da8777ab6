"""Each class of requests by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from llmsim.metrics.kpi import ByName
from llmsim.scenario import Scenario

if TYPE_CHECKING:
    from llmsim.metrics.score import Score


@dataclass(frozen=True, slots=True, eq=False)
class ClassScores(ByName):
    """A score for each class, by name, of the sections that rest on token times."""

    key: ClassVar[str] = "classes"
    compared: ClassVar[bool] = False

    by_name: Mapping[str, Score]

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether requests have classes."""
        return bool(scenario.workload.classes)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Make it from JSON values."""
        from llmsim.metrics.score import Score

        return cls({name: Score.from_dict(of_class) for name, of_class in values.items()})
