"""`llmsim validate`: predicted against measured, with what was fitted and what is missed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmsim.cli import shared_options as choose
from llmsim.cli.output import ProgressBar, print_json
from llmsim.errors import InputError

if TYPE_CHECKING:
    from llmsim.studies.validation import Report
    from llmsim.studies.validation.sends import Assumed


#: cases that need no data: queues whose truth is known, and a scenario
OF_QUEUES = ("coverage", "verdicts")
REPETITIONS = 20


Case = Annotated[
    str,
    typer.Argument(
        metavar="CASE|RESULT",
        help="What to compare: steps, distserve, distserve-disaggregated, kubecon, closed-loop, mlenergy, "
        "step-residuals, capacity, vllm-0151, vllm-decisions, sglang-decisions or vtc with --data; coverage or "
        "verdicts, our own intervals and verdicts on queues whose truth is known; or with --scenario a measured "
        "result: a benchmark's file with details, timelines, or a CSV (arrival_s, prompt_tokens, output_tokens, "
        "ttft_s, e2e_s).",
    ),
]
Repetitions = Annotated[
    int | None,
    typer.Option(
        min=2, metavar="N", help="Of coverage and verdicts: how often to simulate each queue.", show_default="20"
    ),
]
Data = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Of a case: folder with groundtruth/, profiles/ and peers/.")
]
Predicting = Annotated[
    str | None, typer.Option(metavar="SCENARIO", help="Of a result: what is to predict it, but for its workload.")
]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder for validation.json and a picture, validation.png.")
]


def validate(
    case: Case,
    data: Data = None,
    scenario: Predicting = None,
    changes: choose.Changes = None,
    out: Out = None,
    run: choose.RunOfFile = None,
    max_concurrency: choose.MaxConcurrency = None,
    assume_sends: choose.AssumeSends = False,
    repetitions: Repetitions = None,
    force: choose.Replace = False,
    as_json: choose.AsJson = False,
) -> None:
    """Compare predictions with measurements; `passed` says whether the stated targets are met.

    The exit code is 0 whether or not they are met: a miss is a result.
    """
    if case in OF_QUEUES:
        _check_alone(case, data=data, scenario=scenario, set=changes, out=out, run=run, max_concurrency=max_concurrency)
        _simulated(case, repetitions or REPETITIONS, as_json=as_json)
        return
    if repetitions is not None:
        raise InputError("--repetitions belongs to coverage and verdicts")
    from llmsim.experiment import staged
    from llmsim.experiment.seal import folder_for
    from llmsim.studies.validation.report_folder import REPORT_FILE
    from llmsim.studies.validation.sends import Assumed

    if data is not None and (run is not None or max_concurrency is not None or assume_sends):
        raise InputError("--run, --max-concurrency and --assume-sends belong to --scenario: a case knows its load")
    of_file = OfFile(run, Assumed(max_concurrency, assume_sends))
    with ExitStack() as stack:
        asked = _asked(case, data, scenario, changes or [], of_file)
        folder_for(out, None, asked, REPORT_FILE, force=force)
        scratch = stack.enter_context(staged(out, REPORT_FILE)) if out is not None else None
        progress = stack.enter_context(ProgressBar("parts compared"))
        reports = _reports(case, data, scenario, changes or [], of_file, progress)
        if scratch is not None:
            _keep(reports, scratch, out, asked)
    if as_json:
        found = [report.to_dict() for report in reports]
        print_json(found[0] if len(found) == 1 else {"reports": found})
    else:
        from llmsim.reports.tables.validation_tables import show_validation

        for report in reports:
            show_validation(report, out)


def _keep(reports: list[Report], scratch: Path, out: Path | None, asked: str) -> None:
    from llmsim.library.validate import keep_validation

    if len(reports) > 1:
        raise InputError(f"--out {out}: holds one report, and there are {len(reports)}; say which: --run K")
    keep_validation(reports[0], scratch, asked)


def _check_alone(case: str, **options: object) -> None:
    """Refuse what a check of our own statistics does not read."""
    for name, value in options.items():
        if value is not None:
            raise InputError(f"--{name.replace('_', '-')} does not belong to {case}, which simulates queues of its own")


def _simulated(case: str, repetitions: int, *, as_json: bool) -> None:
    """Check our own intervals or verdicts on queues whose truth is known."""
    from llmsim.reports.tables.certainty_tables import show_coverage, show_verdicts
    from llmsim.studies.validation.coverage import coverage
    from llmsim.studies.validation.verdicts import verdicts

    with ProgressBar("queues") as progress:
        covered = coverage(repetitions, progress=progress) if case == "coverage" else []
        judged = verdicts(repetitions, progress=progress) if case == "verdicts" else []
    if as_json:
        rows = [*(row.to_dict() for row in covered), *(row.to_dict() for row in judged)]
        print_json({"case": case, "rows": rows})
    elif covered:
        show_coverage(covered)
    else:
        show_verdicts(judged)


@dataclass(frozen=True, slots=True)
class OfFile:
    """Which runs of a result's file, and what the command line adds to them."""

    run: str | None
    assumed: Assumed


def _asked(case: str, data: Path | None, scenario: str | None, changes: list[str], of_file: OfFile) -> str:
    """What is asked, as a checksum; InputError for what does not go together."""
    from llmsim.scenario import load_scenario
    from llmsim.studies.validation.report_folder import question_of

    if (data is None) == (scenario is None):
        raise InputError("expected --data DIR for a case, or --scenario SCENARIO for a measured result, and not both")
    if scenario is not None:
        described = load_scenario(scenario, changes)
        return question_of(case, scenario=described, run=of_file.run, assumed=of_file.assumed)
    if changes:
        raise InputError("--set belongs to --scenario: a case says itself what it assumes")
    assert data is not None
    return question_of(data, case=case)


def _reports(
    case: str, data: Path | None, scenario: str | None, changes: list[str], of_file: OfFile, progress: ProgressBar
) -> list[Report]:
    if data is not None:
        from llmsim.studies import validation

        return [validation.validate(case, data, progress)]
    assert scenario is not None
    from llmsim.scenario import load_scenario
    from llmsim.studies.validation.result_comparison import compare_file

    number, several = choose.run_of_file(of_file.run), of_file.run == "all"
    return compare_file(Path(case), load_scenario(scenario, changes), number, of_file.assumed, several=several)
