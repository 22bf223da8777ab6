"""A run: `llmsim.run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.experiment.result_folder import question_of, requests_frame, steps_frame
from llmsim.experiment.seal import folder_for
from llmsim.latency.contract import LatencySource
from llmsim.library.convention import one_process
from llmsim.library.shown import Shown, kept
from llmsim.scenario import Scenario, load_scenario
from llmsim.scheduler import Scheduler


class RunResult(experiment.Result, Shown):
    """A run: `scenario`, `record`, `score`, and its tables."""

    @property
    def requests(self) -> pd.DataFrame:
        """One row for each attempt of a request, as in requests.parquet; times in seconds."""
        return requests_frame(self)

    @property
    def steps(self) -> pd.DataFrame:
        """One row for each step, or stretch of steps, of an instance, as in steps.parquet."""
        return steps_frame(self)

    def show(self) -> None:
        """Print the table of ``llmsim run``."""
        from llmsim.reports.tables.run_tables import show_run

        show_run(self, None)

    def save(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write tables, score and pictures; `force`: in place of another scenario's, too."""
        of = question_of(self.scenario)
        return kept(folder, experiment.SCENARIO_FILE, lambda scratch: keep_run(self, scratch), of, force=force)


def run(
    scenario: str | Path | Scenario,
    overrides: Sequence[str] = (),
    *,
    scheduler: type[Scheduler] | None = None,
    latency: type[LatencySource] | None = None,
    decision_limit_s: float | None = None,
    jobs: int = 1,
    out: str | Path | None = None,
    force: bool = False,
) -> RunResult:
    """Run a scenario, given as such or by its name or file, as ``llmsim run`` does.

    `overrides` are those of ``--set``: ``["workload.arrivals.rate_per_s=4"]``. `scheduler` and `latency`, classes, take
    the place of those that the scenario names; a scheduler that takes longer than `decision_limit_s` to decide is
    stopped. InputError, before anything runs, for an `out` that holds another scenario's result, unless by `force`.
    """
    one_process("run", jobs, "a run is one simulation")
    if not isinstance(scenario, Scenario):
        scenario = load_scenario(scenario, overrides)
    elif overrides:
        raise InputError("run: overrides change a scenario's file; expected them where the scenario was loaded")
    if out is not None:
        folder_for(Path(out), None, question_of(scenario), experiment.SCENARIO_FILE, force=force)
    done = experiment.run(scenario, scheduler=scheduler, latency=latency, decision_limit_s=decision_limit_s)
    result = RunResult(done.scenario, done.record, done.num_gpu_blocks, done.score)
    if out is not None:
        result.save(out, force=force)
    return result


def keep_run(
    result: experiment.Result, scratch: Path, *, force: bool = False, formats: Sequence[str] = ("png",)
) -> None:
    """Write what ``llmsim run --out`` writes into an existing folder."""
    from llmsim.reports import plots

    experiment.write(result, scratch, force=force)
    plots.draw(result, scratch, formats)
