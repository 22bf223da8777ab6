"""`llmsim validate`: predicted against measured, with what was fitted and what is missed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from llmsim.cli.output import ProgressBar, print_json


def validate(
    case: Annotated[
        str,
        typer.Argument(metavar="CASE", help="What to compare, such as steps or distserve; an unknown name lists all."),
    ],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder with groundtruth/ and profiles/.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for validation.json and a picture, validation.png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Compare predictions with measurements; `passed` says whether the stated targets are met.

    The exit code is 0 whether or not they are met: a miss is a result.
    """
    from llmsim import validation
    from llmsim.experiment import staged
    from llmsim.validation.store import MARK, write

    with ExitStack() as stack:
        scratch = stack.enter_context(staged(out, MARK)) if out is not None else None
        progress = stack.enter_context(ProgressBar("parts compared"))
        report = validation.validate(case, data, progress)
        if scratch is not None:
            from llmsim import plots

            write(report, scratch)
            plots.save(plots.validation_figure(report), scratch / "validation.png")
    if as_json:
        print_json(report.to_dict())
    else:
        from llmsim import report_validation

        report_validation.show(report, out)
