"""Options that several verbs share: of scenarios; and of scores the SLO, the reader, the window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmsim.cli import complete
from llmsim.errors import InputError, nearest
from llmsim.library.bounds import Choices, run_of_file

if TYPE_CHECKING:
    from llmsim.experiment.own_files import OwnFiles

__all__ = ["Choices", "run_of_file"]

FORMATS = ("png", "pdf", "svg")
#: options of `Judging`
BOUNDS = ("ttft_s", "tbt_s", "tpot_s", "e2e_s", "token_deadline_s")
READER = ("tokens_per_s", "alpha", "anchor", "offset_s", "index_base", "penalty")

ScenarioName = Annotated[
    str,
    typer.Argument(
        metavar="SCENARIO", help="A TOML file, or the name of a shipped scenario.", autocompletion=complete.scenarios
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one value, such as cluster.instances=4. Repeatable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, nothing else.")]
Force = Annotated[
    bool, typer.Option("--force", help="Show P99s even of runs that are overloaded or too short; they are marked.")
]
ForceAndReplace = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Show P99s even of runs that are overloaded or too short, marked; replace another result in --out.",
    ),
]
Replace = Annotated[bool, typer.Option("--force", help="Replace another result in --out.")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes that simulate; 1: this one; the answer is the same.")]
JobsOrDask = Annotated[
    int | None,
    typer.Option(
        "--jobs", min=1, help="Processes that simulate; 1: this one; the answer is the same.", show_default="1"
    ),
]
Dask = Annotated[str | None, typer.Option("--dask", metavar="ADDRESS", help="Run on this Dask scheduler's cluster.")]
Pictures = Annotated[
    str, typer.Option(metavar="png,pdf,svg", help="Formats of pictures; PDF and SVG hold text as text.")
]
SchedulerFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Run the scheduler of this Python file.")]
LatencyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Take step times from the class in this Python file.")
]
RunOfFile = Annotated[
    str | None,
    typer.Option("--run", metavar="K|all", help="Of a file that holds several runs: which, from 1 on; or all of them."),
]


MaxConcurrency = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Of a result: its requests were sent as a closed loop of N."),
]
AssumeSends = Annotated[
    bool, typer.Option("--assume-sends", help="Of a result without send times: draw them at the rate that it states.")
]

DecisionLimit = Annotated[
    float | None, typer.Option(min=0.001, help="Stop a scheduler that takes longer to decide.", show_default="none")
]


def formats(pictures: str) -> tuple[str, ...]:
    """Read the formats of pictures; InputError for one that is none. PNG, which reports show, is always among them."""
    asked = [name.strip().lower() for name in pictures.split(",")]
    for name in asked:
        if name not in FORMATS:
            raise InputError(f"--pictures {name}: expected some of {', '.join(FORMATS)}{nearest(name, FORMATS)}")
    return tuple(name for name in FORMATS if name in asked or name == "png")


def own_files(
    changes: Sequence[str],
    scheduler_file: Path | None,
    latency_file: Path | None,
    decision_limit_s: float | None = None,
    dask: str | None = None,
) -> OwnFiles:
    """Gather the Python files given; InputError where a name is given, too, and for a limit on Dask's threads."""
    from llmsim.experiment.own_files import OwnFiles

    given = [change.split("=")[0].strip() for change in changes]
    named = (
        ("--scheduler-file", scheduler_file, ("scheduler", "scheduler.name")),
        ("--latency-file", latency_file, ("cluster.latency", "cluster.latency.name")),
    )
    for option, file, keys in named:
        if file is not None and (both := next((key for key in given if key in keys), None)) is not None:
            raise InputError(f"{option} and --set {both}=… exclude each other; give one of them")
    if dask is not None and decision_limit_s is not None:
        raise InputError("--decision-limit-s needs the main thread of a process, and Dask's workers run others")
    return OwnFiles(scheduler_file, latency_file, decision_limit_s)


Seconds = float | None


@dataclass(frozen=True, slots=True)
class Judging:
    """By which SLO, reader and window a result is judged, where it is not by its own; and which run of a file."""

    ttft_s: Annotated[
        Seconds, typer.Option(help="SLO: time to first token at most this. Any bound replaces a run's SLO.")
    ] = None
    tbt_s: Annotated[Seconds, typer.Option(help="SLO: every gap between tokens at most this.")] = None
    tpot_s: Annotated[Seconds, typer.Option(help="SLO: mean time per token after the first at most this.")] = None
    e2e_s: Annotated[Seconds, typer.Option(help="SLO: last token at most this after the arrival.")] = None
    token_deadline_s: Annotated[
        Seconds, typer.Option(help="SLO: token i due (i - 1) times this after --ttft-s, without that i times this.")
    ] = None
    tokens_per_s: Annotated[
        float | None, typer.Option(help="How fast the reader takes tokens in, 1/V.", show_default="5")
    ] = None
    alpha: Annotated[
        float | None, typer.Option(help="Tokens that a second of idle waiting costs.", show_default="2.5")
    ] = None
    anchor: Annotated[
        str | None, typer.Option(help="Deadlines count from: arrival or first_token.", show_default="arrival")
    ] = None
    offset_s: Annotated[Seconds, typer.Option(help="Response delay that the reader tolerates.", show_default="0")] = (
        None
    )
    index_base: Annotated[
        int | None, typer.Option(help="First token due one V after the anchor (1) or at it (0).", show_default="1")
    ] = None
    penalty: Annotated[
        str | None,
        typer.Option(
            help="Form of f: linear, tokens, quadratic, clipped, saturating, indicator.", show_default="linear"
        ),
    ] = None
    window: Annotated[
        str | None, typer.Option(help="arrivals, makespan, or START:END in seconds.", show_default="arrivals")
    ] = None
    run: RunOfFile = None

    def choices(self) -> Choices:
        """The bounds of the SLO, and the reader, by name; and the window."""
        slo, reader = ({name: getattr(self, name) for name in names} for names in (BOUNDS, READER))
        return Choices(slo, reader, self.window)


AS_IT_IS = Judging()  #: by its own
