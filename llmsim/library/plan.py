"""A capacity plan: `llmsim.plan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from llmsim.experiment.own_files import OwnFiles
from llmsim.library.shown import Shown, kept
from llmsim.studies import plan as planning
from llmsim.studies.plan import AnsweredPlan
from llmsim.studies.processes import process_pool
from llmsim.studies.sweep import in_this_process


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
        return pd.DataFrame(list(planning.evaluation_rows(self.planned)))

    def show(self) -> None:
        """Print the answer of ``llmsim plan``."""
        from llmsim.reports.tables.plan_tables import show_plan

        show_plan(self.planned, None)

    def save(self, folder: str | Path) -> Path:
        """Write plan, tables and picture."""
        return kept(folder, planning.PLAN_FILE, lambda scratch: keep_plan(self.planned, scratch))


def plan(
    scenario: str | Path,
    overrides: Sequence[str] = (),
    *,
    scheduler_file: Path | None = None,
    latency_file: Path | None = None,
    jobs: int = 1,
    out: str | Path | None = None,
    named: str | None = None,
) -> PlanResult:
    """Find the fewest instances for a load, or the largest load for a cluster, as ``llmsim plan`` does.

    `named` is a definition of capacity, as of ``--as``: "distserve", "sarathi", "vidur" or "mooncake".
    """
    question = planning.read_plan(str(scenario), overrides, OwnFiles(scheduler_file, latency_file), named=named)
    with in_this_process() if jobs == 1 else process_pool(jobs) as executor:
        result = PlanResult(planning.make_plan(question, executor))
    if out is not None:
        result.save(out)
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
