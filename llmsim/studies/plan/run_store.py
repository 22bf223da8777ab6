"""Runs that a plan has made: each is made once, whichever clusters ask for it, and kept until the plan is whole."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from llmsim.errors import InputError
from llmsim.experiment.own_files import NO_FILES, OwnFiles
from llmsim.experiment.seal import is_signed, signed
from llmsim.reading import parse_json, read_text
from llmsim.scenario import Scenario
from llmsim.statistics.shares import Clusters
from llmsim.studies.plan.measured_runs import Measure, MeasuredPoint
from llmsim.studies.sweep.point_keys import key_of
from llmsim.studies.sweep.sweep_folder import replaced


class RunStore:
    """Measured runs by the hash of all that they depend on, in memory and, with a folder, on disk.

    A plan that was killed finds there what it had, and goes on.
    """

    def __init__(self, folder: Path | None, targets: Sequence[object], files: OwnFiles = NO_FILES) -> None:
        """Keep runs for these targets; runs kept for others have other names."""
        self._folder, self._targets, self._files = folder, "\n".join(map(str, targets)), files
        self._known: dict[str, MeasuredPoint] = {}
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{folder}: cannot be written: {error.strerror}") from None

    def through(self, measure: Measure, step_time_factor: float = 1.0) -> Measure:
        """Measure only what is not known yet; runs with other step times have other names."""
        other = "" if step_time_factor == 1 else f"-{step_time_factor:g}"

        def measured(scenarios: Sequence[Scenario]) -> list[MeasuredPoint]:
            keys = [f"{key_of(scenario, self._files)}{other}" for scenario in scenarios]
            missing = [i for i, key in enumerate(keys) if self._find(key) is None]
            for i, point in zip(missing, measure([scenarios[i] for i in missing]), strict=True):
                self._keep(keys[i], point)
            return [self._known[key] for key in keys]

        return measured

    def _find(self, key: str) -> MeasuredPoint | None:
        if key not in self._known and self._folder is not None:
            try:
                file = self._folder / f"{key}.json"
                kept = parse_json(read_text(file), str(file))
                if kept["targets"] == self._targets and kept["key"] == key and is_signed(kept):
                    self._known[key] = _read(kept["point"])
            except (OSError, ValueError, KeyError, TypeError, InputError):  # absent, or damaged: it is made anew
                return None
        return self._known.get(key)

    def _keep(self, key: str, point: MeasuredPoint) -> None:
        self._known[key] = point
        if self._folder is not None:
            with replaced(self._folder / f"{key}.json") as scratch:
                values = {"key": key, "targets": self._targets, "point": _plain(point)}
                scratch.write_text(json.dumps(signed(values)), encoding="utf-8")

    def remove(self) -> None:
        """Take away what lies on disk: the plan is whole, and has all of it in its tables."""
        if self._folder is not None:
            for file in self._folder.glob("*.json"):
                file.unlink(missing_ok=True)
            self._folder.rmdir()


def _plain(point: MeasuredPoint) -> dict[str, Any]:
    values = {name: None if math.isinf(value) else value for name, value in point.values.items()}
    missed = {name: list(astuple(clusters)) for name, clusters in point.missed.items()}
    names = ("seed", "requests", "answer", "reason")
    return {name: getattr(point, name) for name in names} | {
        "values": values,
        "missed": missed,
        "evidence": dict(point.evidence),
    }


def _read(kept: Mapping[str, Any]) -> MeasuredPoint:
    values = {name: math.inf if value is None else float(value) for name, value in kept["values"].items()}
    missed = {name: Clusters(*counts) for name, counts in kept["missed"].items()}
    point = MeasuredPoint(kept["seed"], kept["requests"], kept["answer"], kept["reason"], values, kept["evidence"])
    return replace(point, missed=missed)
