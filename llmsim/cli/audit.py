"""`llmsim audit`: which metrics of a result can be gamed, and how much of a claimed gain could be manipulation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import llmsim
from llmsim.cli import shared_options as choose
from llmsim.cli.option_groups import with_group
from llmsim.cli.output import ProgressBar, check_picture, print_json
from llmsim.errors import InputError

if TYPE_CHECKING:
    from llmsim.library.opened import LoadedResult
    from llmsim.studies.audit_folder import Audited

Pair = 2


@with_group(choose.Judging)
def audit(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="SCENARIO|RESULT…", help="One to audit, or two: how much does the second really gain?"),
    ],
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of a scenario. Repeatable.")
    ] = None,
    judging: choose.Judging = choose.AS_IT_IS,
    pace_s: Annotated[float | None, typer.Option(help="Gap to delay tokens to.", show_default="the ITL bound")] = None,
    picture: Annotated[Path | None, typer.Option(metavar="PNG", help="Draw the (first) audit here.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for audit.json and a picture, for llmsim report.")
    ] = None,
    force: choose.Replace = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Compare a result with itself after tokens were delayed, and after requests that miss were dropped."""
    if len(targets) > Pair:
        raise InputError(f"{len(targets)} results: expected one to audit, or two to compare")
    check_picture(picture)
    if pace_s is not None and not 0 < pace_s < math.inf:
        raise InputError(f"--pace-s {pace_s}: expected more than 0 seconds")
    from llmsim.experiment.seal import folder_for
    from llmsim.library.opened import audited
    from llmsim.metrics.audit import manipulable_share
    from llmsim.reports.tables import audit_tables
    from llmsim.studies.audit_folder import AUDIT_FILE, Audited, NamedAudit, question_of

    asked = question_of(targets, changes or [], choices=judging.choices(), run=judging.run, pace_s=pace_s)
    folder_for(out, None, asked, AUDIT_FILE, force=force)
    opened = [one for target in targets for one in _opened(target, judging, changes or [])]
    found = [audited(one, pace_s) for one in opened]
    audits = [NamedAudit(one.name, of, audit_tables.findings(of)) for one, of in zip(opened, found, strict=True)]
    said = Audited(audits, manipulable_share(*found) if len(found) == len(targets) == Pair else None)
    if picture is not None:
        from llmsim.reports import plots

        plots.save(plots.audit_figure(found[0], caption=f"{opened[0].name} · llmsim {llmsim.__version__}"), picture)
    if out is not None:
        _keep(said, out, asked)
    if as_json:
        print_json(said.to_dict())
        return
    for one in audits:
        audit_tables.show_audit(one.name, one.audit)
    if said.gains is not None:
        audit_tables.show_gains([one.name for one in audits], said.gains)


def _keep(said: Audited, out: Path, asked: str) -> None:
    from llmsim.experiment import staged
    from llmsim.reports import plots
    from llmsim.studies.audit_folder import AUDIT_FILE

    with staged(out, AUDIT_FILE) as scratch:
        first = said.audits[0]
        named = f"{first.name} · llmsim {llmsim.__version__}"
        plots.save(plots.audit_figure(first.audit, caption=named), scratch / "audit.png")
        said.write(scratch, asked)


def _opened(target: str, judging: choose.Judging, changes: list[str]) -> list[LoadedResult]:
    from llmsim.library.opened import open_result, open_results, run_scenario
    from llmsim.studies.audit_folder import is_scenario

    if not is_scenario(target):
        if changes:
            raise InputError(f"--set {changes[0]}: {target} is a result, only a scenario can be changed")
        chosen, run = judging.choices(), judging.run
        return open_results(Path(target), chosen, run) if run == "all" else [open_result(Path(target), chosen, run)]
    with ProgressBar("requests served") as progress:
        return [run_scenario(target, judging.choices(), changes, progress)]
