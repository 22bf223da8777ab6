"""`llmsim init`: a scenario of one's own, to be edited."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmsim.cli import complete
from llmsim.cli import shared_options as choose
from llmsim.cli.keys import all_keys
from llmsim.cli.shortcuts import SCHEDULER, SEED, with_shortcuts
from llmsim.errors import InputError
from llmsim.writing import replacing

if TYPE_CHECKING:
    from llmsim.scenario.load import Change, Source

HEADER = """\
{name}: what is simulated, for llmsim. Begun from {source}; edit it, then: llmsim run {file}
A line with # before a key says what would hold without it. Your editor completes keys (Taplo, Even Better TOML)
after: llmsim schema --out scenario.schema.json, and as the first line here: #:schema ./scenario.schema.json"""


@with_shortcuts(SCHEDULER, SEED)
def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="The file to write.")] = Path("scenario.toml"),
    source: Annotated[
        str,
        typer.Option("--from", metavar="SCENARIO", help="What to begin from.", autocompletion=complete.scenarios),
    ] = "quickstart",
    changes: choose.Changes = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a commented scenario: every key that it has with its meaning, and those that it could have."""
    from llmsim.scenario.load import parse_change, read_source

    write_scenario(file, read_source(source), [*map(parse_change, changes or [])], source, force=force)
    print(f"{file}: run it with llmsim run {file}")


def write_scenario(file: Path, begun: Source, changes: list[Change], name: str, *, force: bool = False) -> Path:
    """Write a scenario with changes as commented TOML, and return the file; `name` says what it was begun from.

    InputError for a file that is there, unless `force`, and for changes that cannot be.
    """
    from llmsim.scenario.commented import commented
    from llmsim.scenario.load import Change

    if file.suffix != ".toml":
        raise InputError(f"{file}: expected a name that ends in .toml")
    data = begun.with_beside([Change(("name",), file.stem), *changes])
    header = HEADER.format(name=file.stem, source=name, file=file)
    with replacing(file, force=force) as scratch:
        scratch.write_text(commented(data, all_keys(), header), encoding="utf-8")
    return file
