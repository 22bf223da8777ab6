"""What a command brings beside a scenario: Python files, whose classes take the place of those that it names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from llmsim.discovery import load_file
from llmsim.latency.contract import LatencySource
from llmsim.scenario.load import Change
from llmsim.scheduler import Scheduler


class OwnClasses(TypedDict, total=False):
    """Arguments of `run`, `check` and `assemble`."""

    scheduler: type[Scheduler]
    latency: type[LatencySource]
    decision_limit_s: float


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """A file each, or None: what the scenario names is found by its name. No result depends on the limit."""

    scheduler: Path | None = None
    latency: Path | None = None
    decision_limit_s: float | None = None  #: for each decision of a scheduler, by the clock on the wall

    def load(self) -> OwnClasses:
        """Run the files; InputError with one line for one that has no such class."""
        classes: OwnClasses = {}
        if self.scheduler is not None:
            classes["scheduler"] = load_file(self.scheduler, Scheduler)
        if self.latency is not None:
            classes["latency"] = load_file(self.latency, LatencySource)
        if self.decision_limit_s is not None:
            classes["decision_limit_s"] = self.decision_limit_s
        return classes

    def changes(self) -> list[Change]:
        """Name them in the scenario, for its tables and pictures."""
        named = ((("scheduler", "name"), self.scheduler), (("cluster", "latency", "name"), self.latency))
        return [Change(keys, file.stem) for keys, file in named if file is not None]

    def resolved(self) -> OwnFiles:
        """Name them so that a process elsewhere on the machine finds them."""
        scheduler, latency = (None if file is None else file.resolve() for file in (self.scheduler, self.latency))
        return replace(self, scheduler=scheduler, latency=latency)


NO_FILES = OwnFiles()
