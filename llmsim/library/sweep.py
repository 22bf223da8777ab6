"""A sweep: `llmsim.sweep`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from llmsim import experiment
from llmsim.experiment.own_files import OwnFiles
from llmsim.library.shown import Shown
from llmsim.studies import sweep as sweeping
from llmsim.studies.processes import process_pool
from llmsim.studies.sweep import FinishedSweep


@dataclass(frozen=True, eq=False)
class SweepResult(Shown):
    """A finished sweep."""

    swept: FinishedSweep
    folder: Path  #: of its points

    @property
    def table(self) -> pd.DataFrame:
        """One row for each point, as in the sweep's table."""
        return pd.DataFrame([row.to_dict() for row in self.swept.rows])

    def show(self) -> None:
        """Print the table of ``llmsim sweep``."""
        from llmsim.reports.tables.sweep_tables import show_sweep

        show_sweep(self.swept, self.folder, ())

    def save(self, folder: str | Path) -> Path:
        """Copy points and table, from which the same sweep can go on."""
        target = Path(folder)
        experiment.check_folder(target, sweeping.SWEEP_FILE)
        shutil.copytree(self.folder, target, dirs_exist_ok=True)
        self.draw(target)
        return target

    def draw(self, folder: Path) -> None:
        """Write the pictures."""
        from llmsim.reports.plots.sweep_plots import draw_sweep

        draw_sweep(self.swept, folder)


def sweep(
    scenario: str | Path,
    overrides: Sequence[str] = (),
    *,
    axes: Sequence[str] = (),
    seeds: int | None = None,
    scheduler_file: Path | None = None,
    latency_file: Path | None = None,
    jobs: int = 1,
    decision_limit_s: float | None = None,
    out: str | Path | None = None,
) -> SweepResult:
    """Run a scenario at every point of its sweep table, as ``llmsim sweep`` does.

    `axes` are ``key=values``, `seeds` the runs of each point. In an `out` that holds points already, what is left is
    run; without one, points are kept in a temporary folder, which is not removed. A scheduler that takes longer than
    `decision_limit_s` to decide is stopped.
    """
    files = OwnFiles(scheduler_file, latency_file, decision_limit_s)
    asked = sweeping.read_sweep(scenario, overrides, axes, seeds, files)
    folder = Path(tempfile.mkdtemp(prefix="llmsim-sweep-")) if out is None else Path(out)
    executors = sweeping.in_this_process if jobs == 1 else partial(process_pool, jobs)
    words = sweeping.command_of(scenario, overrides, axes, seeds, files, folder)
    in_flight = 2 * jobs if jobs > 1 else 1
    swept = sweeping.run_sweep(asked, folder, executors=executors, in_flight=in_flight, command=words)
    result = SweepResult(swept, folder)
    if out is not None:
        result.draw(folder)
    return result
