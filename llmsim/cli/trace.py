"""`llmsim trace`: look at a trace before simulating it, write it in another form, draw requests like it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmsim.cli import shared_options as choose
from llmsim.cli.option_groups import with_group
from llmsim.cli.output import check_picture, print_json
from llmsim.errors import InputError
from llmsim.writing import replacing

if TYPE_CHECKING:
    from llmsim.workload.contract import Workload

#: end of a file's name -> what is written into it
BY_SUFFIX = {".csv": "csv", ".jsonl": "mooncake", ".json": "mooncake", ".ndjson": "mooncake"}
app = typer.Typer(help="Look at traces of requests, and write them in other forms.")


@dataclass(frozen=True, slots=True)
class TraceFile:
    """A trace, and how to read it: what stands on the command line of every verb here."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="A trace, CSV or JSON lines; plain or gzipped.")]
    format: Annotated[str, typer.Option(help="auto, or a name of `llmsim list traces`.")] = "auto"
    map: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=COLUMN", help="A column's name in the file: arrival=created_at; repeat, or use commas."
        ),
    ] = None
    time_unit: Annotated[str | None, typer.Option(help="Unit of the file's times: s, ms, us, ns or date.")] = None
    hash_block_tokens: Annotated[int | None, typer.Option(help="Tokens for each of the file's hash_ids.")] = None
    turns: Annotated[
        str, typer.Option(help="Prompts of later turns are whole, or new: after all that was said before.")
    ] = "whole"
    tokens_per_character: Annotated[
        float | None, typer.Option(help="Of texts: tokens a character (English: about 0.25).")
    ] = None
    tokenizer: Annotated[str | None, typer.Option(metavar="FILE", help="Of texts: a tokenizer.json that counts.")] = (
        None
    )
    start_s: Annotated[float, typer.Option(help="Leave out requests that arrive before, on the trace's own clock.")] = (
        0.0
    )
    duration_s: Annotated[float | None, typer.Option(help="Leave out requests from so long after the start on.")] = None
    limit: Annotated[int | None, typer.Option(help="Take the first so many requests of that.")] = None

    def read(self) -> Workload:
        """Read the requests that are asked for."""
        from llmsim.workload.traces import read_trace

        options = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("file", "map")}
        return read_trace(self.file, columns=_columns(self.map), **options)


@app.command("show")
@with_group(TraceFile)
def show(
    trace: TraceFile,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw arrivals over time and lengths here.")
    ] = None,
) -> None:
    """Show how many requests a trace has, how they arrive, and how long they are."""
    check_picture(picture)
    from llmsim.workload.trace_stats import describe

    workload = trace.read()
    stats = describe(workload)
    if picture is not None:
        from llmsim.reports import plots

        plots.save(plots.trace_figure(workload), picture)
    if as_json:
        print_json(stats.to_dict())
    else:
        from llmsim.reports.tables.trace_tables import show_trace

        show_trace(stats, picture)


@app.command("convert")
@with_group(TraceFile)
def convert(
    trace: TraceFile,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write.")],
    to: Annotated[
        str,
        typer.Option(
            help="mooncake, aiperf, guidellm or csv; left out, by the name: csv for .csv, mooncake for .jsonl."
        ),
    ] = "",
    force: choose.Replace = False,
) -> None:
    """Write a trace as Mooncake's (whole milliseconds), AIPerf's, GuideLLM's (seconds) or plain CSV (seconds)."""
    from llmsim.workload.trace_write import trace_lines

    workload = trace.read()
    form = to or BY_SUFFIX.get(out.suffix.lower(), "")
    if not form:
        raise InputError(f"{out}: expected a name in {', '.join(BY_SUFFIX)}, or --to with what to write")
    lines, said = trace_lines(workload, form)
    with replacing(out, force=force) as scratch, scratch.open("w", encoding="utf-8") as file_out:
        file_out.writelines(f"{line}\n" for line in lines)
    print(workload.source)
    print(f"{out}: {len(workload):,} requests ({form})", *said, sep="; ")


@app.command("fit")
@with_group(TraceFile)
def fit(
    trace: TraceFile,
    classes: Annotated[
        int | None, typer.Option(min=1, max=20, help="Classes of lengths; left out, as few as resemble it, up to 4.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw the trace and what the table draws here.")
    ] = None,
) -> None:
    """Print a workload table of a scenario whose requests have a trace's rate, burstiness, and lengths, in classes."""
    check_picture(picture)
    from llmsim.workload.trace_fit import fit as fitted

    workload = trace.read()
    table = fitted(workload, classes).to_toml()
    drawn = _drawn(table)
    if picture is not None:
        from llmsim.reports import plots

        plots.save(plots.fit_figure(workload, drawn), picture)
    print(f"# resembles {workload.source}: gaps and lengths; not their order, nor prefixes")
    print(*(f"# {line}" for line in _compared(workload, drawn)), sep="\n")
    print(table, end="")


def _drawn(table: str) -> Workload:
    """Requests as a scenario with this [workload] would have them."""
    import tomllib

    from llmsim.experiment.requests import make_workload
    from llmsim.scenario import Scenario
    from llmsim.workload.streams import streams

    scenario = Scenario.model_validate({"name": "fit", **tomllib.loads(table)})
    return make_workload(scenario, streams(scenario.seed))


def _compared(trace: Workload, drawn: Workload) -> list[str]:
    """How far the distributions of what the table draws are from the trace's, in words."""
    import numpy as np

    from llmsim.workload.trace_fit import FAR, distance

    parts = {
        "gaps": (np.diff(trace.arrival_s), np.diff(drawn.arrival_s)),
        "prompts": (trace.prompt_tokens, drawn.prompt_tokens),
        "outputs": (trace.output_tokens, drawn.output_tokens),
    }
    away = {name: distance(*both) for name, both in parts.items()}
    said = ", ".join(f"{name} {100 * share:.1f} %" for name, share in away.items())
    lines = [f"drawn with seed 0, distributions differ at most by: {said}"]
    if far := [name for name, share in away.items() if share > FAR]:
        lines.append(f"{' and '.join(far)} are not like the trace's: where they matter, run the trace itself")
    return lines


def _columns(given: list[str] | None) -> dict[str, str]:
    """Read ``key=column`` pairs, with commas or one by one."""
    pairs = [pair.partition("=") for text in given or () for pair in text.split(",")]
    for key, equals, column in pairs:
        if not (equals and key.strip() and column.strip()):
            raise InputError(f"--map: '{key}{equals}{column}', expected KEY=COLUMN such as arrival=created_at")
    return {key.strip(): column.strip() for key, _, column in pairs}
