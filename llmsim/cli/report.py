"""`llmsim report`: a folder of results as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmsim.writing import replacing

NAME = "report.html"


def report(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="What llmsim run, sweep, plan, compare, audit or validate has written."),
    ],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The file.", show_default=f"DIR/{NAME}")] = None,
) -> None:
    """Write one HTML file to read, send and keep: verdict, tables, pictures, warnings, how to run it again."""
    from llmsim.reports.page import BEGINS, page

    text = page(folder)
    file = out or folder / NAME
    with replacing(file, BEGINS) as scratch:
        scratch.write_text(text, encoding="utf-8")
    print(file)
