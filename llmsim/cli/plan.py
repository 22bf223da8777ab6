"""`llmsim plan`: how many instances a load needs, or how much load a cluster carries, and how sure that is."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmsim.cli import shared_options as choose
from llmsim.cli.output import ProgressBar, expect, print_json
from llmsim.cli.run import RESULTS, folder_name
from llmsim.cli.shortcuts import OF_PLAN, with_shortcuts

if TYPE_CHECKING:
    from llmsim.studies.executors import Executors
    from llmsim.studies.plan import AnsweredPlan, Question

Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder for tables and picture.", show_default="results/NAME-plan; none with --json"
    ),
]
Replace = Annotated[bool, typer.Option("--force", help="Replace the answer to another question in --out.")]
As = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="NAME",
        help="Find the largest load as a paper defines it: distserve, sarathi, vidur, mooncake or slos-serve; or that "
        "is steady: stability.",
    ),
]
Tornado = Annotated[
    bool,
    typer.Option("--tornado", help="Say which assumption moves the answer, with a picture: plan.tornado (minutes)."),
]


@with_shortcuts(OF_PLAN)
def plan(
    scenario: choose.ScenarioName,
    changes: choose.Changes = None,
    scheduler_file: choose.SchedulerFile = None,
    latency_file: choose.LatencyFile = None,
    jobs: choose.JobsOrDask = None,
    dask: choose.Dask = None,
    out: Out = None,
    force: Replace = False,
    pictures: choose.Pictures = "png",
    named: As = None,
    tornado: Tornado = False,
    decision_limit_s: choose.DecisionLimit = None,
    as_json: choose.AsJson = False,
) -> None:
    """Find the fewest instances for a load, or the largest load for a cluster, within the targets of its plan table.

    Runs are added and lengthened until the answer is as sure as asked, or refused with the reason. A plan that was
    killed goes on from the runs that it had. The exit code is 0 either way: a refusal is a result.
    """
    from llmsim.experiment.seal import folder_for
    from llmsim.studies import plan as planning
    from llmsim.studies.executors import executors_of
    from llmsim.studies.plan.plan_folder import question_of, to_dict

    formats, executors = choose.formats(pictures), executors_of(jobs, dask)
    files = choose.own_files(changes or [], scheduler_file, latency_file, decision_limit_s, dask)
    asked = [*(changes or []), *(["plan.tornado=true"] if tornado else [])]
    question = planning.read_plan(scenario, asked, files, named=named)
    default = None if as_json else RESULTS / f"{folder_name(question.scenario.name)}-plan"
    folder = folder_for(out, default, question_of(question), planning.PLAN_FILE, force=force)
    planned = _answered(question, executors, folder, formats, jobs or 1)
    if as_json:
        print_json(to_dict(planned))
    else:
        from llmsim.reports.tables.plan_tables import show_plan

        show_plan(planned, folder)


def _answered(
    question: Question, executors: Executors, folder: Path | None, formats: tuple[str, ...], jobs: int
) -> AnsweredPlan:
    """Answer a question, and keep the answer in a folder, if there is one."""
    from llmsim import experiment
    from llmsim.studies import plan as planning
    from llmsim.studies.kept_runs import going_on

    with ExitStack() as stack:
        kept = stack.enter_context(going_on(folder))
        scratch = stack.enter_context(experiment.staged(folder, planning.PLAN_FILE)) if folder is not None else None
        executor = stack.enter_context(executors())
        runs = planning.EXPECTED_EVALUATIONS * question.table.least_seeds * len(question.candidates)
        expect(question.scenario, times=runs, jobs=jobs)
        progress = stack.enter_context(ProgressBar("clusters tried"))
        planned = planning.make_plan(question, executor, progress, kept)
        if scratch is not None:
            from llmsim.library.plan import keep_plan

            keep_plan(planned, scratch, formats)
    return planned
