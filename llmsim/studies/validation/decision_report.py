"""What is said of our decisions beside those that an engine's own scheduler has taken, workload by workload."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from llmsim.errors import InputError
from llmsim.studies.validation.case_report import Check, Row
from llmsim.studies.validation.decision_runs import TICK_S, DecisionRun, Fate
from llmsim.studies.validation.run_case import Progress

NAMED_DIFFERENCES = 8  #: workloads whose first difference is told


Run = DecisionRun[Any, Any]


class Agreement(Protocol):
    """A workload, and where we differ first: None for each part in which we do not."""

    @property
    def run(self) -> Run:
        """The workload."""

    @property
    def first(self) -> object:
        """What is to be looked at first."""


Compared = TypeVar("Compared", bound=Agreement)


def compare_all(folder: Path, compare: Callable[[Path], Compared], progress: Progress) -> list[Compared]:
    """Compare each workload in a folder; InputError where there is none."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InputError(f"{folder}: no workloads (*.json), expected some")
    agreements = []
    for done, file in enumerate(files):
        progress(done, len(files))
        agreements.append(compare(file))
    progress(len(files), len(files))
    return agreements


def checks(agreements: Sequence[Agreement], parts: Mapping[str, str]) -> tuple[Check, ...]:
    """No workload may differ in any part; `parts`: attribute of an agreement -> what it is called."""
    return tuple(Check(name, len(agreements) - _same(agreements, part), 0, "workloads") for part, name in parts.items())


def rows(agreements: Sequence[Agreement], engine: str, same: Mapping[str, str]) -> tuple[Row, ...]:
    """A row for each kind of workload, and one for all; `same`: key -> attribute of an agreement that is counted."""
    kinds = dict.fromkeys(agreement.run.kind for agreement in agreements)
    parts = {kind: [each for each in agreements if each.run.kind == kind] for kind in kinds}
    return tuple(
        {
            "workloads_of": kind,
            "workloads": len(part),
            f"steps_of_{engine}": sum(len(each.run.steps) for each in part),
            **{key: _same(part, name) for key, name in same.items()},
        }
        for kind, part in [*parts.items(), ("all", list(agreements))]
    )


def _same(agreements: Sequence[Agreement], part: str) -> int:
    return sum(getattr(agreement, part) is None for agreement in agreements)


def mean_ttft_s(run: Run, fates: Sequence[Fate]) -> float:
    """Seconds from arrival to the first token, over the requests of a run."""
    first_s = np.array([fate.first_token for fate in fates]) * TICK_S
    return float(np.mean(first_s - run.workload.arrival_s))


def notes(agreements: Sequence[Agreement]) -> tuple[str, ...]:
    """The first difference of each workload that differs, of the first few."""
    apart = [agreement for agreement in agreements if agreement.first is not None]
    told = [f"{agreement.run.name}, {agreement.first}" for agreement in apart[:NAMED_DIFFERENCES]]
    more = len(apart) - len(told)
    return (*told, f"{more} more workloads differ") if more else tuple(told)
