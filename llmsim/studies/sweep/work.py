"""One point's run, as a process anywhere can do it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsim import experiment
from llmsim.discovery import load_file
from llmsim.errors import InputError
from llmsim.scenario import Scenario
from llmsim.scheduler import Scheduler
from llmsim.studies.sweep.definition import Point
from llmsim.studies.sweep.keys import key_of


@dataclass(frozen=True, slots=True)
class Task:
    """A point as text, so that any executor can send it."""

    key: str
    scenario: str  #: JSON
    scheduler_file: str | None


def task_of(point: Point, scheduler_file: Path | None) -> Task:
    """Write a point down."""
    return Task(point.key, point.scenario.model_dump_json(), None if scheduler_file is None else str(scheduler_file))


def run_task(task: Task) -> dict[str, Any]:
    """Run a point and return its score.

    Raises InputError where this process has other code or files than the one that made the key: another version of
    llmsim on a cluster's node, or a trace that was changed meanwhile.
    """
    scenario = Scenario.model_validate_json(task.scenario)
    file = None if task.scheduler_file is None else Path(task.scheduler_file)
    policy = None if file is None else load_file(file, Scheduler)  # type: ignore[type-abstract]
    try:
        same = key_of(scenario, file) == task.key
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from None
    if not same:
        raise InputError(
            "the worker's llmsim, trace, profile or scheduler file is not the one that the sweep was begun with"
        )
    return experiment.run(scenario, scheduler=policy).score
