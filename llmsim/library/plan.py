"""A capacity plan: `llmsim.plan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from llmsim.experiment.own_files import OwnFiles
from llmsim.experiment.seal import folder_for
from llmsim.library.shown import Shown, kept
from llmsim.studies import plan as planning
from llmsim.studies.executors import in_processes
from llmsim.studies.kept_runs import going_on
from llmsim.studies.plan import AnsweredPlan
from llmsim.studies.plan.plan_folder import question_of


@dataclass(frozen=True, eq=False)
class PlanResult(Shown):
    """A capacity plan."""

    planned: AnsweredPlan

    @property
    def score(self) -> dict[str, Any]:
        """What ``llmsim plan --json`` prints."""
        return planning.to_dict(self.planned)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each cluster and load that was tried."""
        return pd.DataFrame([row.to_dict() for row in planning.evaluation_rows(self.planned)])

    def show(self) -> None:
        """Print the answer of ``llmsim plan``."""
        from llmsim.reports.tables.plan_tables import show_plan

        show_plan(self.planned, None)

    def save(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write plan, tables and picture; `force`: in place of another plan, too."""
        of = question_of(self.planned.question)
        return kept(folder, planning.PLAN_FILE, lambda scratch: keep_plan(self.planned, scratch), of, force=force)


def plan(
    scenario: str | Path,
    overrides: Sequence[str] = (),
    *,
    scheduler_file: Path | None = None,
    latency_file: Path | None = None,
    jobs: int = 1,
    decision_limit_s: float | None = None,
    out: str | Path | None = None,
    force: bool = False,
    named: str | None = None,
) -> PlanResult:
    """Find the fewest instances for a load, or the largest load for a cluster, as ``llmsim plan`` does.

    `named` is a definition of capacity, as of ``--as``: "distserve", "sarathi", "vidur", "mooncake",
    "slos-serve" or "stability". A scheduler that takes longer than `decision_limit_s` to decide is stopped.
    InputError, before anything runs, for an `out` that holds another plan, unless by `force`.
    """
    files = OwnFiles(scheduler_file, latency_file, decision_limit_s)
    question = planning.read_plan(str(scenario), overrides, files, named=named)
    if out is not None:
        folder_for(Path(out), None, question_of(question), planning.PLAN_FILE, force=force)
    with (
        going_on(None if out is None else Path(out)) as kept,
        in_processes(jobs)() as executor,
    ):
        result = PlanResult(planning.make_plan(question, executor, kept=kept))
        if out is not None:
            result.save(out, force=force)
    return result


def keep_plan(planned: AnsweredPlan, scratch: Path, formats: Sequence[str] = ("png",)) -> None:
    """Write what ``llmsim plan --out`` writes into an existing folder."""
    from llmsim.reports import plots
    from llmsim.reports.plots.caption import caption

    planning.write(planned, scratch)
    rows = list(planning.evaluation_rows(planned))
    told = caption(planned.question.scenario, varied=("cluster.gpu", "seed"))
    plots.save(
        plots.pareto_figure(rows, find=planned.question.table.find, caption=told), scratch / "pareto.png", formats
    )
    if planned.tornado is not None:
        plots.save(plots.tornado_figure(planned.tornado, caption=told), scratch / "tornado.png", formats)
