"""`llmsim validate`: predicted against measured, with what was fitted and what is missed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmsim.cli.output import ProgressBar, print_json
from llmsim.errors import InputError

if TYPE_CHECKING:
    from llmsim.studies.validation import Report


def validate(
    case: Annotated[
        str,
        typer.Argument(
            metavar="CASE|RESULT",
            help="What to compare: steps, distserve, distserve-disaggregated, kubecon, closed-loop or vllm-decisions "
            "with --data; or with --scenario a measured result: JSON of vLLM's benchmark with details, timelines, or a "
            "CSV (arrival_s, prompt_tokens, output_tokens, ttft_s, e2e_s).",
        ),
    ],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Of a case: folder with groundtruth/, profiles/ and peers/.")
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(metavar="SCENARIO", help="Of a result: what is to predict it, but for its workload."),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the scenario. Repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for validation.json and a picture, validation.png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Compare predictions with measurements; `passed` says whether the stated targets are met.

    The exit code is 0 whether or not they are met: a miss is a result.
    """
    from llmsim.experiment import staged
    from llmsim.studies.validation.store import MARK, write

    with ExitStack() as stack:
        scratch = stack.enter_context(staged(out, MARK)) if out is not None else None
        progress = stack.enter_context(ProgressBar("parts compared"))
        report = _report(case, data, scenario, changes or [], progress)
        if scratch is not None:
            from llmsim.reports import plots

            write(report, scratch)
            plots.save(plots.validation_figure(report), scratch / "validation.png")
    if as_json:
        print_json(report.to_dict())
    else:
        from llmsim.reports.tables import validation as report_validation

        report_validation.show(report, out)


def _report(case: str, data: Path | None, scenario: str | None, changes: list[str], progress: ProgressBar) -> Report:
    if (data is None) == (scenario is None):
        raise InputError("expected --data DIR for a case, or --scenario SCENARIO for a measured result, and not both")
    if data is not None:
        if changes:
            raise InputError("--set belongs to --scenario: a case says itself what it assumes")
        from llmsim.studies import validation

        return validation.validate(case, data, progress)
    assert scenario is not None
    from llmsim.scenario import load_scenario
    from llmsim.studies.validation.measured_run import read_run
    from llmsim.studies.validation.result import compare_result

    return compare_result(read_run(Path(case)), load_scenario(scenario, changes))
