"""Runs that a plan has made: each is made once, whichever clusters ask for it."""

from __future__ import annotations

from collections.abc import Sequence

from llmsim.experiment.own_files import NO_FILES, OwnFiles
from llmsim.scenario import Scenario
from llmsim.studies.kept_runs import Damaged, KeptRuns
from llmsim.studies.plan.measured_runs import Measure, MeasuredPoint
from llmsim.studies.sweep.point_keys import key_of


class RunStore:
    """Measured runs by the hash of all that they depend on, in memory and, where runs are kept, on disk.

    A plan that was killed finds there what it had, and goes on.
    """

    def __init__(self, kept: KeptRuns | None, targets: Sequence[object], files: OwnFiles = NO_FILES) -> None:
        """Keep runs for these targets; those kept for others are made anew."""
        self._kept, self._targets, self._files = kept, "\n".join(map(str, targets)), files
        self._known: dict[str, MeasuredPoint] = {}

    def through(self, measure: Measure, other: str = "") -> Measure:
        """Measure only what is not known yet; runs of something `other` than the scenario have that name, too."""

        def measured(scenarios: Sequence[Scenario]) -> list[MeasuredPoint]:
            keys = [f"{key_of(scenario, self._files)}{other}" for scenario in scenarios]
            missing = [i for i, key in enumerate(keys) if self._find(key) is None]
            for i, point in zip(missing, measure([scenarios[i] for i in missing]), strict=True):
                self._keep(keys[i], point)
            return [self._known[key] for key in keys]

        return measured

    def _find(self, key: str) -> MeasuredPoint | None:
        if key not in self._known and self._kept is not None:
            try:
                kept = self._kept.find(key)
                if kept is not None and kept["targets"] == self._targets:
                    self._known[key] = MeasuredPoint.from_dict(kept["point"])
            except (Damaged, ValueError, KeyError, TypeError):  # it is made anew
                return None
        return self._known.get(key)

    def _keep(self, key: str, point: MeasuredPoint) -> None:
        self._known[key] = point
        if self._kept is not None:
            self._kept.keep(key, {"targets": self._targets, "point": point.to_dict()})
