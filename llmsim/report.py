"""Scores as tables that a person reads: milliseconds for waits between tokens, seconds for whole requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from llmsim.experiment import Result
from llmsim.scenario import Scenario

#: key in the score -> words, seconds in the unit shown
LATENCIES = {
    "ttft_s": ("TTFT, ms", 1e-3),
    "tpot_s": ("TPOT per request, ms", 1e-3),
    "tbt_s": ("TBT of all gaps, ms", 1e-3),
    "e2e_s": ("E2E, s", 1.0),
    "queueing_s": ("queueing, s", 1.0),
    "engine_ttft_s": ("TTFT at the engine, ms", 1e-3),
    "gateway_queueing_s": ("queueing at the gateway, s", 1.0),
    "client_queueing_s": ("queueing at the client, s", 1.0),
}
QUANTILES = ("mean", "p50", "p90", "p99")


def show(result: Result, folder: Path | None, console: Console | None = None, *, force: bool = False) -> None:
    """Print the result of one run, and where its files are; P99s only of a steady run, unless forced."""
    console = console or Console(highlight=False)
    console.print(f"\n[bold]{result.scenario.name}[/bold]\n{_setting(result.scenario)}")
    score = result.reported(force=force)
    console.print(_latencies(score))
    console.print(_outcome(score))
    console.print(f"{verdict_line(score['verdict'])}", soft_wrap=True)
    if folder is not None:
        console.print(f"tables and pictures: {folder}", soft_wrap=True)
        for file in sorted(folder.glob("*.png")):
            console.print(f"  {file}", soft_wrap=True)


def show_score(score: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a score: latencies, outcome, and each request where the score has a row for each."""
    console = console or Console(highlight=False)
    console.print(f"\n[bold]{score['name']}[/bold]\ntimes {score['choices']['times']}", soft_wrap=True)
    console.print(_latencies(score))
    console.print(_outcome(score))
    if score.get("per_request"):
        console.print(_per_request(score["per_request"], score["choices"]["user"]))


def verdict_line(verdict: Mapping[str, Any]) -> str:
    """Say in one line whether the run was steady, why, and what becomes of its P99s."""
    evidence = verdict["evidence"]
    words = {"steady": "steady", "overloaded": "overloaded", "too short": "too short to say"}[verdict["answer"]]
    seen = []
    if evidence.get("utilisation") is not None:
        seen.append(f"instances {100 * evidence['utilisation']:.0f} % busy")
    if "drain_s" in evidence:
        seen.append(f"drained {_plain(evidence['drain_s'])} s after the last arrival")
    tails = "; P99s withheld, --force shows them" if "withheld" in verdict else ""
    tails = "; P99s marked * are not to be relied on" if "forced" in verdict else tails
    return f"[bold]{words}[/bold]: {'; '.join([verdict['reason'], *seen])}{tails}"


def show_trace(stats: Mapping[str, Any], picture: Path | None, console: Console | None = None) -> None:
    """Print the numbers of a trace."""
    console = console or Console(highlight=False)
    table = Table(box=box.SIMPLE_HEAD, show_header=False, title=str(stats["source"]), title_justify="left")
    for key, value in stats.items():
        if key != "source" and not isinstance(value, Mapping):
            table.add_row(key, _plain(value))
    console.print(table)
    lengths = Table(box=box.SIMPLE_HEAD)
    lengths.add_column("")
    columns = list(stats["prompt_tokens"])
    for column in columns:
        lengths.add_column(column, justify="right")
    for key in ("prompt_tokens", "output_tokens"):
        lengths.add_row(key, *(_plain(stats[key][column]) for column in columns))
    console.print(lengths)
    if picture is not None:
        console.print(f"picture: {picture}", soft_wrap=True)


def _setting(scenario: Scenario) -> str:
    cluster = scenario.cluster
    parallel = f" (TP{cluster.tensor_parallel_size})" if cluster.tensor_parallel_size > 1 else ""
    options = ", ".join(f"{key} {value}" for key, value in scenario.scheduler.options.items())
    return (
        f"{cluster.instances} x {cluster.gpu}{parallel}, {cluster.model}, {cluster.router}, "
        f"{scenario.scheduler.name}{f' ({options})' if options else ''}, seed {scenario.seed}"
    )


def _latencies(score: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("latency")
    for name in (*QUANTILES, "n"):
        table.add_column(name, justify="right")
    marks = dict.fromkeys(score.get("verdict", {}).get("forced", ()), "*")
    for key, (words, scale) in LATENCIES.items():
        row = score.get(key)
        if row is not None:
            values = (
                _plain(None if row[q] is None else row[q] / scale) + marks.get(f"{key}.{q}", "") for q in QUANTILES
            )
            table.add_row(words, *values, _plain(row["n"]))
    return table


def _users(table: Table, score: Mapping[str, Any]) -> None:
    """Say how conversations and attempts went, and what was for nothing."""
    if talks := score.get("conversations"):
        ways = ", ".join(f"{_plain(talks[way])} {way}" for way in ("complete", "broken", "unfinished") if talks[way])
        never = f"; {_plain(talks['turns_never_sent'])} turns never sent" if talks["turns_never_sent"] else ""
        table.add_row("conversations", f"{_plain(talks['total'])}: {ways}{never}")
    if made := score.get("attempts"):
        again, well = _plain(made["requests_tried_again"]), _plain(made["of_these_finished"])
        each = f"{_plain(made['per_request'])} a request"
        table.add_row("attempts", f"{_plain(made['total'])}, {each}; {again} requests tried again, {well} finished")
    wasted = score.get("wasted", {})
    if wasted.get("gpu_s"):
        share = _percent(wasted["gpu_s"] / wasted["busy_gpu_s"])
        table.add_row("wasted", f"{_plain(wasted['gpu_s'])} GPU s, {share} of the time in steps")


def _outcome(score: Mapping[str, Any]) -> Table:
    counts = dict(score["requests"])
    total = counts.pop("total")
    ends = ", ".join(f"{_plain(count)} {name}" for name, count in counts.items() if count)
    choices, slo = score["choices"], score["slo"]
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_row("requests", f"{_plain(total)}: {ends}")
    _users(table, score)
    table.add_row("throughput", _rate(score["output_tokens_per_s"], score["requests_per_s"]))
    if slo is not None:
        bounds = ", ".join(
            f"{name.removesuffix('_s').upper()} ≤ {bound:g} s"
            for name, bound in choices["slo"].items()
            if bound is not None
        )
        table.add_row("SLO attainment", f"{_percent(slo['attainment'])} of all requests: {bounds}")
        table.add_row("goodput", _rate(slo["goodput_tokens_per_s"], slo["goodput_requests_per_s"]))
    user, window = choices["user"], choices["window"]
    offset = f" + {user['offset_s']:g} s" if user["offset_s"] else ""
    reader = f"{user['tokens_per_s']:g} tokens/s from {user['anchor']}{offset}, alpha {user['alpha']:g}"
    table.add_row("smooth goodput", f"{_plain(score['smooth_goodput_tokens_per_s'])} tokens/s")
    table.add_row("  its reader", f"{reader}, {user['penalty']}")
    table.add_row("window", f"{window['kind']}, {window['start_s']:g} to {window['end_s']:g} s")
    if window["kind"] == "arrivals":
        table.add_row("", "goodputs: who arrives in it; throughput: what leaves in it")
    if choices.get("measured_from") == "sent":
        table.add_row("latencies", "from the sending of a request, not its arrival at the client")
    if cache := score.get("prefix_cache"):
        table.add_row("prefix cache", f"{_percent(cache['hit_ratio'])} of prompt tokens found")
    if "wall_s" in score:
        table.add_row("simulated", f"{_plain(score['simulated_s'])} s in {_plain(score['wall_s'])} s")
    return table


#: key of a row -> head of its column: twelve of them in 80 characters
REQUEST_COLUMNS = {
    "request": "",
    "n_tokens": "n",
    "ttft_s": "TTFT",
    "max_gap_s": "max\ngap",
    "tpot_s": "TPOT",
    "last_token_s": "last\ntoken",
    "l_arrival_s": "l, ar-\nrival",
    "l_first_token_s": "l, 1st\nV (i-1)",
    "l_first_token_plus_v_s": "l, 1st\nV i",
    "qoe": "QoE",
    "fluidity": "fluid",
    "meets_slo": "SLO",
}


def _per_request(rows: Sequence[Mapping[str, Any]], user: Mapping[str, Any]) -> Table:
    title = f"Each request, in seconds; l with V = {user['seconds_per_token']:g} s and offset {user['offset_s']:g} s"
    caption = "l from the arrival, and from the first token (1st); QoE and fluidity ask for a token every V"
    table = Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", caption=caption, caption_justify="left",
        padding=(0, 0, 0, 1), collapse_padding=True,
    )  # fmt: skip
    for key, words in REQUEST_COLUMNS.items():
        if key in rows[0]:
            table.add_column(words, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(_exactly(row[key]) for key in REQUEST_COLUMNS if key in row))
    return table


def _exactly(value: float | bool | None) -> str:
    """Three decimals, as published tables have them; zero without a sign."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, int):
        return _plain(value)
    return f"{round(value, 3) + 0.0:.3f}"


def _rate(tokens_per_s: float | None, requests_per_s: float | None) -> str:
    return f"{_plain(tokens_per_s)} tokens/s, {_plain(requests_per_s)} requests/s"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


def _plain(value: float | str | None) -> str:
    """Three significant digits or all before the point; whole numbers in full."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or 100 <= abs(value) < 1e12:
        return f"{value:,.0f}"
    return f"{value:.3g}"
