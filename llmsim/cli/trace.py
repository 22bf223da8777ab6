"""`llmsim trace`: look at a trace before simulating it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmsim.cli.output import check_picture, print_json

app = typer.Typer(help="Look at traces of requests.")


@app.callback()
def _group() -> None:
    """Keep `show` a verb of its own: a Typer app with a single command would swallow the name."""


@app.command("show")
def show(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Azure CSV, Mooncake JSONL, CSV or JSONL; plain or gzipped.")
    ],
    format: Annotated[str, typer.Option(help="auto, azure, mooncake, csv or jsonl.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw arrivals over time and lengths here.")
    ] = None,
) -> None:
    """Show how many requests a trace has, how they arrive, and how long they are."""
    check_picture(picture)
    from llmsim.workload.trace_stats import describe
    from llmsim.workload.traces import read_trace

    workload = read_trace(file, format=format)
    stats = describe(workload).to_dict()
    if picture is not None:
        from llmsim.reports import plots

        plots.save(plots.trace_figure(workload), picture)
    if as_json:
        print_json(stats)
    else:
        from llmsim.reports.tables.trace_tables import show_trace

        show_trace(stats, picture)
