"""`llmsim trace`: look at a trace before simulating it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmsim.cli.output import check_picture, print_json
from llmsim.errors import InputError

app = typer.Typer(help="Look at traces of requests.")


Format = Annotated[str, typer.Option(help="auto, or a name of `llmsim list traces`.")]
Map = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=COLUMN", help="A column's name in the file: arrival=created_at; repeat, or use commas."),
]
TimeUnit = Annotated[str | None, typer.Option(help="Unit of the file's times: s, ms, us, ns or date.")]
HashBlockTokens = Annotated[int | None, typer.Option(help="Tokens for each of the file's hash_ids.")]


@app.callback()
def _group() -> None:
    """Keep `show` a verb of its own: a Typer app with a single command would swallow the name."""


@app.command("show")
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A trace, CSV or JSON lines; plain or gzipped.")],
    format: Format = "auto",
    map: Map = None,
    time_unit: TimeUnit = None,
    hash_block_tokens: HashBlockTokens = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw arrivals over time and lengths here.")
    ] = None,
) -> None:
    """Show how many requests a trace has, how they arrive, and how long they are."""
    check_picture(picture)
    from llmsim.workload.trace_stats import describe
    from llmsim.workload.traces import read_trace

    workload = read_trace(
        file, format=format, columns=_columns(map), time_unit=time_unit, hash_block_tokens=hash_block_tokens
    )
    stats = describe(workload).to_dict()
    if picture is not None:
        from llmsim.reports import plots

        plots.save(plots.trace_figure(workload), picture)
    if as_json:
        print_json(stats)
    else:
        from llmsim.reports.tables.trace_tables import show_trace

        show_trace(stats, picture)


def _columns(given: list[str] | None) -> dict[str, str]:
    """Read ``key=column`` pairs, with commas or one by one."""
    pairs = [pair.partition("=") for text in given or () for pair in text.split(",")]
    for key, equals, column in pairs:
        if not (equals and key.strip() and column.strip()):
            raise InputError(f"--map: '{key}{equals}{column}', expected KEY=COLUMN such as arrival=created_at")
    return {key.strip(): column.strip() for key, _, column in pairs}
