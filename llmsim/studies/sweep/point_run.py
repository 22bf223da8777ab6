"""One point's run, as a process anywhere can do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.experiment.own_files import OwnFiles
from llmsim.experiment.run_scenario import asked_requests
from llmsim.metrics.distributions import Distributions
from llmsim.metrics.moved_bounds import MovedBounds, of_slo
from llmsim.metrics.score import Score
from llmsim.scenario import Scenario
from llmsim.studies.sweep.point_keys import key_of
from llmsim.studies.sweep.sweep_definition import Point


@dataclass(frozen=True, slots=True)
class Task:
    """A point as text, so that any executor can send it."""

    key: str
    scenario: str  #: JSON
    files: OwnFiles


@dataclass(frozen=True, slots=True, eq=False)
class PointResult:
    """What a point's run showed, and what is kept beside it to say how sure a number over seeds is."""

    score: Score
    distributions: Distributions
    moved: MovedBounds | None = None  #: requests that would miss another SLO; None where there is nothing to move

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, as `from_dict` reads them."""
        moved = None if self.moved is None else self.moved.to_dict()
        return {"score": self.score.to_dict(), "distributions": self.distributions.to_dict(), "moved": moved}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; KeyError, TypeError, AttributeError or ValueError for anything else."""
        moved = values.get("moved")  # an earlier version has not kept it
        return cls(
            Score.from_dict(values["score"]),
            Distributions.from_dict(values["distributions"]),
            None if moved is None else MovedBounds.from_dict(moved),
        )


def task_of(point: Point, files: OwnFiles) -> Task:
    """Write a point down."""
    return Task(point.key, point.scenario.model_dump_json(), files)


def run_task(task: Task) -> PointResult:
    """Run a point and return its score, its distributions, and what other SLOs would make of it.

    Raises InputError where this process has other code or files than the one that made the key: another version of
    llmsim on a cluster's node, or a trace that was changed meanwhile.
    """
    scenario = Scenario.model_validate_json(task.scenario)
    classes = task.files.load()
    try:
        same = key_of(scenario, task.files) == task.key
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from None
    if not same:
        raise InputError(
            "the worker's llmsim, trace, profile, or file of a policy is not the one that the sweep began with"
        )
    result = experiment.run(scenario, **classes)
    asked = asked_requests(result, experiment.make_window(scenario))
    kept = Distributions.of(asked)
    return PointResult(result.score, kept, of_slo(asked, kept))
