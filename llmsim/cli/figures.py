"""`llmsim figures`: the paper's figures, made anew, and its claims, checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from llmsim.cli import shared_options as choose
from llmsim.cli.output import ProgressBar
from llmsim.errors import InputError

FOLDER = Path("results/figures")
NOT_SHOWN = 1


def figures(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]…", help="Figures, or a group: related, models.", show_default="the paper's"),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check the claims; exit code 1 if one does not hold. Writes only to --out.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer settings, rates and seeds: a few minutes.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for PNG, PDF, SVG and CSV.", show_default="results/figures; none with --check"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the claims as JSON, nothing else.")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes that simulate.", show_default="2")] = None,
    dask: choose.Dask = None,
) -> None:
    """Make the figures of arXiv 2410.14257, or of related papers, each with its claim, its evidence and its limits."""
    from llmsim.experiment import in_the_way
    from llmsim.figures import make_figures
    from llmsim.figures.make import PROCESSES
    from llmsim.studies.executors import executors_of

    folder = FOLDER if out is None and not (check or as_json) else out
    if folder is not None and (file := in_the_way(folder)) is not None:
        raise InputError(f"--out {file}: expected a folder, but a file of that name is in the way")
    executors = executors_of(jobs, dask, unless_said=PROCESSES)
    with ProgressBar("runs") as progress:
        claims, files = make_figures(names or (), quick=quick, out=folder, executors=executors, progress=progress)
    if as_json:
        print(json.dumps([claim.to_dict() for claim in claims], indent=2, ensure_ascii=False, allow_nan=False))
    else:
        from llmsim.figures.report import show

        show(claims, files)
    if check and any(claim.passed is False for claim in claims):
        raise typer.Exit(NOT_SHOWN)
