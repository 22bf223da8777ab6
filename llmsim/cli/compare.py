"""`llmsim compare`: scenarios or schedulers on the same requests, pair by pair, with an exit code for CI."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmsim.cli import complete
from llmsim.cli import shared_options as choose
from llmsim.cli.option_groups import with_group
from llmsim.cli.output import ProgressBar, expect, print_json
from llmsim.cli.run import RESULTS, folder_name
from llmsim.cli.shortcuts import with_shortcuts
from llmsim.writing import replacing

if TYPE_CHECKING:
    from llmsim.studies.compare import Comparison
    from llmsim.studies.compare.side_runs import Executors

#: exit codes where a condition failed, and where one could not be judged
FAILED, COULD_NOT_TELL = 1, 3


Scenarios = Annotated[
    list[str],
    typer.Argument(
        metavar="A B…",
        help="TOML files or names of shipped scenarios; the others are held against A.",
        autocompletion=complete.scenarios,
    ),
]
Schedulers = Annotated[
    str | None,
    typer.Option(metavar="NAME,NAME", help="Compare schedulers on one scenario: names, or Python files (.py)."),
]
FailIf = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CONDITION",
        help="Exit with 1 if this holds of a difference from A, by its estimate, with 3 if that cannot be told: "
        '"ttft_s.p99 > +5%" (relative), "slo.attainment < -0.01" (in the unit of the metric). Repeatable.',
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder for tables and pictures.", show_default="results/NAME-compare; none with --json"
    ),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY", help="Let sides differ in this key or table of the workload, users, SLO. Repeatable."),
]


Baseline = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="RESULT",
        help="Side A from a folder that llmsim run has written, once; one scenario is enough beside it. Repeatable: "
        "other seeds.",
    ),
]

Forms = Annotated[
    bool, typer.Option("--all", help="By the rules of other papers, too, as where a condition names one.")
]


@dataclass(frozen=True, slots=True)
class CiFiles:
    """Files for a pull request and for a CI."""

    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the differences as Markdown, for a pull request.")
    ] = None
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the conditions as JUnit XML, for a CI.")] = (
        None
    )

    def opened(self, stack: ExitStack) -> CiFiles:
        """Check before the runs that they can be written; scratch files that take their places."""
        of = zip(astuple(self), (b"### ", b"<?xml"), strict=True)
        return CiFiles(*(file and stack.enter_context(replacing(file, begins)) for file, begins in of))

    def write(self, comparison: Comparison, *, force: bool) -> None:
        """Write what is asked for."""
        from llmsim.reports.tables import compare_files

        if self.markdown is not None:
            self.markdown.write_text(compare_files.markdown(comparison, force=force), encoding="utf-8")
        if self.junit is not None:
            self.junit.write_text(compare_files.junit(comparison), encoding="utf-8")


NO_CI_FILES = CiFiles()


@with_shortcuts()
@with_group(CiFiles)
def compare(
    scenarios: Scenarios,
    schedulers: Schedulers = None,
    changes: choose.Changes = None,
    latency_file: choose.LatencyFile = None,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Runs of each side, with the same N seeds.")] = 1,
    jobs: choose.Jobs = 1,
    out: Out = None,
    pictures: choose.Pictures = "png",
    fail_if: FailIf = None,
    for_ci: CiFiles = NO_CI_FILES,
    allow: Allow = None,
    baseline: Baseline = None,
    forms: Forms = False,
    force: choose.ForceAndReplace = False,
    decision_limit_s: choose.DecisionLimit = None,
    as_json: choose.AsJson = False,
) -> int:
    """Run two or more scenarios, or schedulers, on the same requests and say what differs, and for which requests.

    A comparison that was killed goes on from the runs that it had.
    """
    from llmsim.experiment.seal import folder_for
    from llmsim.studies import compare as comparing
    from llmsim.studies.compare.comparison_folder import question_of
    from llmsim.studies.kept_runs import going_on

    formats = choose.formats(pictures)
    conditions = [comparing.parse_condition(text) for text in fail_if or []]
    files = choose.own_files(changes or [], None, latency_file, decision_limit_s)
    forms = forms or comparing.on_forms(conditions)
    first, stored = (None, ()) if not baseline else comparing.read_baseline(baseline, forms=forms)
    sides = comparing.read_sides(scenarios, _names(schedulers), changes or [], allow or [], files, first)
    default = None if as_json else RESULTS / f"{folder_name(sides[0].scenario.name)}-compare"
    folder = folder_for(out, default, question_of(sides), comparing.COMPARISON_FILE, force=force)
    times = max(seeds, len(stored))  # runs of each side
    judged = partial(comparing.compare, conditions=conditions, force=force, forms=forms)
    run = partial(judged, sides, seeds=seeds, baseline=stored)
    with ExitStack() as stack:
        kept = stack.enter_context(going_on(folder))
        files_for_ci, scratch = for_ci.opened(stack), _scratch(folder, stack)
        expect(*(side.scenario for side in sides), times=times, jobs=jobs)
        progress = stack.enter_context(ProgressBar("requests served"))
        comparison = run(executors=_executors(min(jobs, times * len(sides))), progress=progress, kept=kept)
        files_for_ci.write(comparison, force=force)
        names = [] if scratch is None else _kept(comparison, scratch, formats, force=force)
    _show(comparison, folder, names, force=force, as_json=as_json)
    return FAILED if comparison.failed else COULD_NOT_TELL if comparison.untold else 0


def _kept(comparison: Comparison, scratch: Path, formats: tuple[str, ...], *, force: bool) -> list[str]:
    """Write a comparison's files; return the names of its pictures."""
    from llmsim.library.compare import keep_comparison

    return [file.name for file in keep_comparison(comparison, scratch, force=force, formats=formats)]


def _show(comparison: Comparison, folder: Path | None, names: list[str], *, force: bool, as_json: bool) -> None:
    """Print tables, and where pictures lie; or JSON."""
    from llmsim.reports.tables.compare_tables import show_comparison
    from llmsim.studies.compare import as_json as comparison_json

    if as_json:
        print_json(comparison_json(comparison, force=force))
        return
    show_comparison(comparison, folder, [] if folder is None else [folder / name for name in names], force=force)


def _scratch(folder: Path | None, stack: ExitStack) -> Path | None:
    """A folder to write into, which takes the place of this one when all is well."""
    from llmsim import experiment
    from llmsim.studies.compare import COMPARISON_FILE

    return None if folder is None else stack.enter_context(experiment.staged(folder, COMPARISON_FILE))


def _names(schedulers: str | None) -> list[str]:
    return [] if schedulers is None else [name.strip() for name in schedulers.split(",")]


def _executors(jobs: int) -> Executors | None:
    from llmsim.studies.processes import process_pool

    return None if jobs == 1 else partial(process_pool, jobs)
