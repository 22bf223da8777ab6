"""`llmsim bench`: how fast llmsim is on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmsim.cli.output import ProgressBar, print_json
from llmsim.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="fixed, azure-conv, overload, fcfs, mooncake; scale: a million requests, 1,000 instances; "
        "stretches: against single steps; traces: reading three million rows; shipped: each shipped scenario beside "
        "the fast path; decisions: schedulers call by call; peers: AISimulate beside llmsim.",
        show_default="the first five",
    ),
]
Repeat = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="How often to run each workload; the fastest counts. A million requests, and stretches, run once.",
        show_default="3",
    ),
]
Peer = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="peers: AISimulate's command.", show_default="aisimulate, as a shell finds it"),
]
Against = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Compare with another version, run in turn: its virtual environment, its Python, or its folder.",
    ),
]


def bench(
    names: Names = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    requests: Annotated[
        int | None, typer.Option(min=10, max=10**9, help="Requests of each run.", show_default="20,000 of most")
    ] = None,
    trace: Annotated[Path | None, typer.Option(metavar="FILE", help="Mooncake's conversation trace.")] = None,
    repeat: Repeat = None,
    against: Against = None,
    peer: Peer = None,
) -> None:
    """Measure requests, steps and tokens per second, and memory, against SimPy's plain timeouts per second.

    Each workload runs in a process of its own. Timed is everything from the workload's arrays to the score. SimPy's
    timeouts are measured right before and after each run; their median is the yardstick.
    """
    from llmsim.studies.bench import suites
    from llmsim.studies.bench.speed_tables import Speeds

    chosen = suites.known(names or [])
    if peer is not None and chosen != [suites.PEERS]:
        raise InputError("--peer: only for bench peers")
    if chosen[0] in suites.ALONE:
        _alone(chosen[0], requests, trace, peer, suites.REPEAT if repeat is None else repeat, as_json)
        return
    if against is not None:
        _against(against, chosen, trace, requests, suites.REPEAT if repeat is None else repeat, as_json, bool(names))
        return
    if repeat is not None and chosen == [suites.STRETCHES]:
        raise InputError("--repeat: stretches are compared once; name a workload, or scale, to repeat")
    often = suites.REPEAT if repeat is None else repeat
    scenarios, skipped = suites.scenarios(chosen, trace, requests, skip=not names)
    size = {} if requests is None else {"requests": requests}
    measured = suites.speed(scenarios, repeat=often, watch=ProgressBar)
    scale = suites.scale(**size, repeat=often, watch=ProgressBar) if suites.SCALE in chosen else None
    compared = suites.stretches(**size, watch=ProgressBar) if suites.STRETCHES in chosen else {}
    timeouts_per_s = suites.yardstick([*measured.values(), *(scale.runs.values() if scale else ())])
    speeds = Speeds(measured, skipped, scale, compared, timeouts_per_s)
    if as_json:
        print_json(speeds.to_dict())
        return
    from llmsim.reports.terminal import plain_console, show

    console = plain_console()
    for table in speeds.tables():
        show(console, table)
        console.print()
    console.print(f"SimPy alone, here and now: {timeouts_per_s:,.0f} plain timeouts/s")


def _alone(name: str, requests: int | None, trace: Path | None, peer: Path | None, repeat: int, as_json: bool) -> None:
    """Print what has a table of its own."""
    from llmsim.studies.bench import suites

    if name == suites.TRACES:
        _traces(requests, as_json)
    elif name == suites.DECISIONS:
        _decisions(requests, as_json)
    elif name == suites.SHIPPED:
        _shipped(requests, as_json)
    else:
        _peers(requests, trace, peer, repeat, as_json)


def _shipped(requests: int | None, as_json: bool) -> None:
    """Print how far from the fast path shipped scenarios are."""
    from llmsim.studies.bench import shipped, speed_tables

    found, skipped = shipped.measure_shipped(
        requests=shipped.REQUESTS if requests is None else requests, watch=ProgressBar
    )
    _tell(
        {"shipped": speed_tables.shipped_json(found), "skipped": skipped},
        speed_tables.shipped_table(found, skipped),
        as_json,
    )


def _peers(requests: int | None, trace: Path | None, peer: Path | None, repeat: int, as_json: bool) -> None:
    """Print how AISimulate does on the same work."""
    from llmsim.studies.bench import peers, speed_tables

    names = peers.WORKLOADS[:1] if trace is None else peers.WORKLOADS
    size = peers.REQUESTS if requests is None else requests
    found = peers.beside(peers.Peer.at(peer), names, requests=size, trace=trace, repeat=repeat, watch=ProgressBar)
    _tell({"peers": speed_tables.peers_json(found)}, speed_tables.peers_table(found, trace is None), as_json)


def _decisions(requests: int | None, as_json: bool) -> None:
    """Print how long schedulers take to decide."""
    from llmsim.studies.bench import decision_times, speed_tables

    found = decision_times.decisions(decision_times.REQUESTS if requests is None else requests, watch=ProgressBar)
    _tell({"decisions": speed_tables.decisions_json(found)}, speed_tables.decisions_table(found), as_json)


def _traces(rows: int | None, as_json: bool) -> None:
    """Print how fast a trace is read."""
    from llmsim.studies.bench import speed_tables, trace_reading

    found = trace_reading.reading(trace_reading.ROWS if rows is None else rows, watch=ProgressBar)
    _tell({"traces": speed_tables.reading_json(found)}, speed_tables.reading_table(found), as_json)


def _against(
    path: Path, chosen: list[str], trace: Path | None, requests: int | None, processes: int, as_json: bool, named: bool
) -> None:
    """Print how this version does beside another one."""
    from llmsim.studies.bench import speed_tables, suites
    from llmsim.studies.bench.against import Version, against

    for name in chosen:
        if name not in suites.WORKLOADS:
            raise InputError(f"--against: '{name}' is no workload; expected one of {', '.join(suites.WORKLOADS)}")
    other = Version.at(path)
    scenarios, skipped = suites.scenarios(chosen, trace, requests, skip=not named)
    found = against(other, list(scenarios), requests=requests, trace=trace, processes=processes, watch=ProgressBar)
    _tell(
        {"workloads": speed_tables.against_json(found), "skipped": skipped},
        speed_tables.against_table(found, skipped),
        as_json,
    )


def _tell(found: dict[str, Any], table: RenderableType, as_json: bool) -> None:
    """Print what was found, as JSON or as a table."""
    if as_json:
        print_json(found)
        return
    from llmsim.reports.terminal import plain_console, show

    show(plain_console(), table)
