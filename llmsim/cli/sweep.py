"""`llmsim sweep`: one scenario over axes and seeds, in a folder from which it goes on after any interruption."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmsim.cli import choices as choose
from llmsim.cli.output import ProgressBar, print_json
from llmsim.cli.run import RESULTS, folder_name
from llmsim.errors import InputError

if TYPE_CHECKING:
    from llmsim.experiment.own_files import OwnFiles
    from llmsim.studies.sweep.executors import Executors

#: points that wait for a process while another is computed
AHEAD = 2
#: a cluster gets many at once: its own scheduler deals them out
AT_ONCE = 1000


def sweep(
    scenario: Annotated[
        str, typer.Argument(metavar="SCENARIO", help="A TOML file, or the name of a shipped scenario.")
    ],
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of all points. Repeatable.")
    ] = None,
    axes: Annotated[
        list[str] | None,
        typer.Option(
            "--axis",
            metavar="KEY=VALUES",
            help="An axis: cluster.instances=1,2,4, or a range in quotes: "
            "\"KEY={start=1, stop=8, num=4, spacing='geometric'}\". Repeatable.",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help="Runs of each point.", show_default="[sweep] seeds, else 1")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes that simulate; 1: this one.", show_default="one per core")
    ] = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run on the cluster of this Dask scheduler instead.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to keep points in.", show_default="results/NAME-sweep")
    ] = None,
    scheduler: choose.Scheduler = None,
    scheduler_file: choose.SchedulerFile = None,
    latency_file: choose.LatencyFile = None,
    force: Annotated[
        bool, typer.Option("--force", help="Show P99s even of runs that are overloaded or too short; they are marked.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON, nothing else.")] = False,
) -> None:
    """Run a scenario at every point of its sweep table; run again, it does what is left to do."""
    from llmsim.studies import sweep as sweeping

    files = choose.own_files(changes or [], scheduler, scheduler_file, latency_file)
    if dask is not None and jobs is not None:
        raise InputError("--jobs and --dask exclude each other; give one of them")
    changed = choose.with_short(changes or [], scheduler=scheduler)
    asked = sweeping.read_sweep(scenario, changed, axes or [], seeds, files)
    folder = out or RESULTS / f"{folder_name(asked.name)}-sweep"
    executors, in_flight = _executors(dask, jobs or _cores(), len(asked.points))
    with ProgressBar("runs") as progress:
        swept = sweeping.run_sweep(
            asked,
            folder,
            executors=executors,
            in_flight=in_flight,
            command=_command(scenario, changed, axes or [], seeds, files, folder, force),
            force=force,
            progress=progress,
            said=lambda line: print(line, file=sys.stderr),
        )
    from llmsim.reports.plots import sweep_plots as plots
    from llmsim.reports.tables.sweep_tables import show_sweep

    pictures = plots.draw_sweep(swept, folder)
    if as_json:
        print_json({"folder": str(folder), "ran": swept.ran, "rows": swept.rows})
    else:
        show_sweep(swept, folder, pictures, force=force)


def _executors(address: str | None, jobs: int, points: int) -> tuple[Executors, int]:
    from llmsim.studies import sweep as sweeping
    from llmsim.studies.processes import process_pool

    if address is not None:
        return sweeping.dask(address), AT_ONCE
    jobs = min(jobs, points)
    if jobs == 1:
        return sweeping.in_this_process, 1
    return lambda: process_pool(jobs), AHEAD * jobs


def _cores() -> int:
    """Cores that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _command(
    scenario: str,
    changes: list[str],
    axes: list[str],
    seeds: int | None,
    files: OwnFiles,
    folder: Path,
    force: bool,
) -> str:
    """The command that asks for these points; where they were run is no part of it."""
    words = ["llmsim", "sweep", scenario]
    for option, values in (("--set", changes), ("--axis", axes)):
        words += [word for value in values for word in (option, value)]
    words += ["--seeds", str(seeds)] if seeds is not None else []
    for option, file in (("--scheduler-file", files.scheduler), ("--latency-file", files.latency)):
        words += [option, str(file)] if file is not None else []
    words += ["--force"] if force else []
    return shlex.join([*words, "--out", str(folder)])
