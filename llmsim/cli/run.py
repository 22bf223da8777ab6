"""`llmsim run`: simulate one scenario, score it, draw it, keep it."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmsim.cli import shared_options as choose
from llmsim.cli.output import ProgressBar, expect, print_json, told
from llmsim.cli.shortcuts import SCHEDULER, SEED, with_shortcuts
from llmsim.errors import InputError, LlmsimError
from llmsim.writing import replacing

if TYPE_CHECKING:
    from llmsim.experiment import Result
    from llmsim.experiment.own_files import OwnClasses
    from llmsim.interop.format import Savable
    from llmsim.scenario import Scenario
    from llmsim.scenario.load import Change

    Formats = tuple[str, ...]
    Saved = tuple[type[Savable], Path, Path]  # the format, a scratch file, and the file whose place it takes

RESULTS = Path("results")

Out = Annotated[
    Path | None, typer.Option(help="Folder for tables and pictures.", show_default="results/NAME; none with --json")
]
SaveAs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FORMAT=FILE",
        help="Save requests as a benchmark would: vllm_bench=FILE.json, aiperf=FILE.jsonl (records) or FILE.json "
        "(summary). Repeatable.",
    ),
]
Check = Annotated[
    bool, typer.Option("--check", help="Check conservation of requests and tokens, and Little's law: for debugging.")
]
Perfetto = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write a trace for ui.perfetto.dev (extra perfetto).")
]
Stepwise = Annotated[bool, typer.Option(help="Take every engine step on its own: slower, same result.")]
UntilSure = Annotated[
    bool, typer.Option(help="Take twice as many requests, again and again, until the run is not too short to say.")
]
Sensitivity = Annotated[
    bool,
    typer.Option(help="Tell TTFT P99 with steps 5 % shorter and longer: two more runs. Told unasked near full seats."),
]


@with_shortcuts(SCHEDULER, SEED)
def run(
    scenario: choose.ScenarioName,
    changes: choose.Changes = None,
    out: Out = None,
    as_json: choose.AsJson = False,
    scheduler_file: choose.SchedulerFile = None,
    latency_file: choose.LatencyFile = None,
    stepwise: Stepwise = False,
    pictures: choose.Pictures = "png",
    save_as: SaveAs = None,
    perfetto: Perfetto = None,
    force: choose.ForceAndReplace = False,
    decision_limit_s: choose.DecisionLimit = None,
    until_sure: UntilSure = False,
    check: Check = False,
    sensitivity: Sensitivity = False,
) -> None:
    """Simulate a scenario and show its latencies, goodput and smooth goodput."""
    from llmsim import experiment
    from llmsim.experiment.result_folder import question_of
    from llmsim.experiment.seal import folder_for

    formats = choose.formats(pictures)
    files = choose.own_files(changes or [], scheduler_file, latency_file, decision_limit_s)
    classes = files.load()
    described = _described(scenario, changes or [], files.changes())
    if until_sure:
        described = _long_enough(described, classes)
    default = None if as_json else RESULTS / folder_name(described.name)
    folder = folder_for(out, default, question_of(described), experiment.SCENARIO_FILE, force=force)
    with ExitStack() as stack:
        saved = _to_save(save_as or [], stack, force=force)
        trace = _trace_file(perfetto, stack)
        scratch = stack.enter_context(experiment.staged(folder)) if folder is not None else None
        expect(described)
        progress = stack.enter_context(ProgressBar("requests served"))
        with told("simulated and scored"):
            result = experiment.run(described, **classes, stepwise=stepwise, progress=progress)
        if check:
            _check(result)
        with told("written"):
            _write(result, saved, trace, scratch, force=force, formats=formats)
    _show(result, folder, classes, as_json=as_json, force=force, sensitivity=sensitivity)


def _show(
    result: Result, folder: Path | None, classes: OwnClasses, *, as_json: bool, force: bool, sensitivity: bool
) -> None:
    """Print the score, and whether it hangs on a small error of the step times: asked for, or near full seats."""
    from llmsim.studies import sensitivity as study

    hangs = study.sensitivity(result.scenario, result, classes) if sensitivity else None
    if as_json:
        more = {} if hangs is None else {"sensitivity": hangs.to_dict()}
        print_json(result.reported(force=force).to_dict() | more)
        return
    from llmsim.reports.tables.run_tables import show_run

    show_run(result, folder, force=force)
    if said := str(hangs) if hangs is not None else study.of_itself(result, classes):
        print(said)


def _check(result: Result) -> None:
    """Audit what happened; LlmsimError for what no run may do, whatever its policies decide: a bug of llmsim."""
    from llmsim.experiment.instances import async_scheduling
    from llmsim.testing import check_record

    scenario = result.scenario
    ahead = any(async_scheduling(scenario, number) for number in range(len(scenario.pools)))
    try:
        check_record(result.record, in_vain=ahead or scenario.speculates)
    except AssertionError as error:
        raise LlmsimError(f"this run breaks what every run must keep, please tell the maintainers: {error}") from error


def _write(
    result: Result, saved: list[Saved], trace: Path | None, folder: Path | None, *, force: bool, formats: Formats
) -> None:
    """Write what was asked for, into files that take their places when all is well."""
    for kind, place, file in saved:
        from llmsim.library.opened import served_of  # loads pandas, as readers of measured files do

        place.write_text(kind.text(served_of(result), file), encoding="utf-8")
    if trace is not None:
        from llmsim.reports import perfetto_trace

        perfetto_trace.write(result, trace)
    if folder is not None:
        from llmsim.library.run import keep_run

        keep_run(result, folder, force=force, formats=formats)


def _long_enough(described: Scenario, classes: OwnClasses) -> Scenario:
    """Lengthen a scenario until its run is steady or overloaded; the last length tried, where none of them is."""
    from llmsim.experiment.until_sure import lengthened

    found, tried = lengthened(described, classes)
    if len(tried) > 1:
        print(f"too short to say with {', '.join(f'{n:,}' for n in tried[:-1])} requests", file=sys.stderr)
    return found


def _to_save(asked: list[str], stack: ExitStack, *, force: bool) -> list[Saved]:
    """Check before the run what is to be saved: the format, a scratch file that takes its place, and the file."""
    if not asked:
        return []
    from llmsim.interop.format import savable

    found = []
    for text in asked:
        name, equals, file = text.partition("=")
        if not (equals and file):
            raise InputError(f"--save-as {text}: expected FORMAT=FILE")
        found.append((savable(name), stack.enter_context(replacing(Path(file), force=force)), Path(file)))
    return found


def _trace_file(file: Path | None, stack: ExitStack) -> Path | None:
    """Check before the run that a trace can be written; a scratch file that takes its place."""
    if file is None:
        return None
    from llmsim.reports import perfetto_trace

    perfetto_trace.check_available()
    return stack.enter_context(replacing(file, perfetto_trace.BEGINS))


def folder_name(name: str) -> str:
    """Turn a scenario's name into that of a folder."""
    return re.sub(r"[^\w-]+", "_", name).strip("_") or "scenario"


def _described(path: str, changes: list[str], of_files: list[Change]) -> Scenario:
    from llmsim.scenario.load import parse_change, read_source

    return read_source(path).scenario([*map(parse_change, changes), *of_files])
