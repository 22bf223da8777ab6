"""`llmsim explore`: a page on this machine with sliders; what is moved is simulated anew."""

from __future__ import annotations

import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmsim.cli import shared_options as choose
from llmsim.cli.init import write_scenario
from llmsim.cli.shortcuts import SCHEDULER, SEED, with_shortcuts

if TYPE_CHECKING:
    from llmsim.explore.server import Explorer


@with_shortcuts(SCHEDULER, SEED)
def explore(
    scenario: choose.ScenarioName,
    changes: choose.Changes = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1.", show_default="a free one")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    """Open a page with sliders for rate, instances, GPU, scheduler, SLO: what is moved is simulated anew, at once.

    It is served to this machine only, needs no network, and shows the command line for what is on the screen.
    """
    from llmsim.explore import serve

    explorer = explorer_of(scenario, changes or [], port)
    print(f"{explorer.address}  (Ctrl-C ends it)", flush=True)
    if not no_browser:
        webbrowser.open(explorer.address)
    serve(explorer)


def explorer_of(name: str, changes: list[str], port: int = 0) -> Explorer:
    """Return the server of a scenario's page; InputError where it cannot be run."""
    from llmsim.explore import Explorer
    from llmsim.explore.answers import Question
    from llmsim.scenario.load import parse_change, read_source

    question = Question.of(name, read_source(name), [*map(parse_change, changes)], changes)

    def save(values: Mapping[str, Any], file: str) -> str:
        given = [*question.given, *question.changes(values)]
        return str(write_scenario(Path(Path(file).name), question.source, given, name))

    return Explorer(question, save, port)
