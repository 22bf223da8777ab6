"""`llmsim sweep`: one scenario over axes and seeds, in a folder from which it goes on after any interruption."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmsim.cli import shared_options as choose
from llmsim.cli.output import LONG_S, ProgressBar, duration, expect, print_json
from llmsim.cli.run import RESULTS, folder_name
from llmsim.cli.shortcuts import SCHEDULER, with_shortcuts
from llmsim.errors import InputError, Interrupted

if TYPE_CHECKING:
    from llmsim.studies.executors import Executors
    from llmsim.studies.sweep import FinishedSweep

#: points that wait for a process while another is computed
AHEAD = 2
CHECK_S = 0.0015  #: of a point, before anything runs
#: a cluster gets many at once: its own scheduler deals them out
AT_ONCE = 1000


Axes = Annotated[
    list[str] | None,
    typer.Option(
        "--axis",
        metavar="KEY=VALUES",
        help="An axis: cluster.instances=1,2,4, or a range in quotes: "
        "\"KEY={start=1, stop=8, num=4, spacing='geometric'}\". Repeatable.",
    ),
]


Seeds = Annotated[
    int | None, typer.Option(metavar="N", help="Runs of each point.", show_default="[sweep] seeds, else 1")
]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Processes that simulate; 1: this one.", show_default="one per core")
]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder to keep points in.", show_default="results/NAME-sweep")
]


@with_shortcuts(SCHEDULER)
def sweep(
    scenario: choose.ScenarioName,
    changes: choose.Changes = None,
    axes: Axes = None,
    seeds: Seeds = None,
    jobs: Jobs = None,
    dask: choose.Dask = None,
    out: Out = None,
    scheduler_file: choose.SchedulerFile = None,
    latency_file: choose.LatencyFile = None,
    pictures: choose.Pictures = "png",
    force: choose.Force = False,
    decision_limit_s: choose.DecisionLimit = None,
    as_json: choose.AsJson = False,
) -> None:
    """Run a scenario at every point of its sweep table; run again, it does what is left to do."""
    from llmsim.studies import sweep as sweeping

    formats = choose.formats(pictures)
    files = choose.own_files(changes or [], scheduler_file, latency_file, decision_limit_s, dask)
    if dask is not None and jobs is not None:
        raise InputError("--jobs and --dask exclude each other; give one of them")
    asked = sweeping.read_sweep(scenario, changes or [], axes or [], seeds, files, said=_many)
    folder = out or RESULTS / f"{folder_name(asked.name)}-sweep"
    executors, in_flight = _executors(dask, jobs or _cores(), len(asked.points))
    words = sweeping.command_of(scenario, changes or [], axes or [], seeds, files, folder, force=force)
    expect(*(point.scenario for point in asked.points), jobs=jobs or _cores())
    with ProgressBar("runs") as progress:
        swept = sweeping.run_sweep(
            asked,
            folder,
            executors=executors,
            in_flight=in_flight,
            command=words,
            force=force,
            progress=progress,
            said=lambda line: print(line, file=sys.stderr),
        )
    drawn = _drawn(swept, folder, formats)
    if as_json:
        print_json({"folder": str(folder), "ran": swept.ran, "rows": [row.to_dict() for row in swept.rows]})
    else:
        from llmsim.reports.tables.sweep_tables import show_sweep

        show_sweep(swept, folder, drawn, force=force)


def _drawn(swept: FinishedSweep, folder: Path, formats: tuple[str, ...]) -> list[Path]:
    """Draw; `Interrupted` for Ctrl-C says that the table is there."""
    try:
        from llmsim.reports.plots.sweep_plots import draw_sweep

        return draw_sweep(swept, folder, formats)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted while drawing; the runs and their table are in {folder}") from None


def _executors(address: str | None, jobs: int, points: int) -> tuple[Executors, int]:
    from llmsim.studies import sweep as sweeping
    from llmsim.studies.processes import process_pool

    if address is not None:
        return sweeping.dask(address), AT_ONCE
    jobs = min(jobs, points)
    if jobs == 1:
        return sweeping.in_this_process, 1
    return lambda: process_pool(jobs), AHEAD * jobs


def _many(points: int) -> None:
    """Say how long it takes before anything runs, where points are many."""
    if (seconds := points * CHECK_S) >= LONG_S:
        print(f"{points:,} runs: checking them takes roughly {duration(seconds)}", file=sys.stderr, flush=True)


def _cores() -> int:
    """Cores that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
