"""Scores as tables that a person reads: milliseconds for waits between tokens, seconds for whole requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from llmsim.experiment import ANSWERS, P99S_MARKED, P99S_WITHHELD, Result, router_choice
from llmsim.reports.terminal import say
from llmsim.scenario import ClusterTable, PoolTable, Scenario
from llmsim.studies.sweep import in_words

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
#: in which instances that come and go are paid
STATES = ("starting", "ready", "draining")
#: stages whose key says less than they hold
STAGES = {"memory_wait_s": "wait for memory and link"}
QUANTILES = ("mean", "p50", "p90", "p99")
#: waits whose percentiles are estimated where requests were cut short
OF_WAITS = ("ttft_s", "e2e_s", "queueing_s", "engine_ttft_s", "gateway_queueing_s", "client_queueing_s")
ESTIMATED = "†"
SUMMARY_QUANTILES = (*QUANTILES[:3], "p95", "p99")
#: of a benchmark's summary
AMOUNTS = {
    "requests.finished": "requests finished",
    "requests.abandoned": "requests failed",
    "output_tokens_per_s": "throughput, output tokens/s",
    "total_tokens_per_s": "throughput, prompt and output tokens/s",
    "requests_per_s": "throughput, requests/s",
    "goodput_requests_per_s": "goodput of its own SLO, requests/s",
    "duration_s": "duration, s",
    "prompt_tokens": "prompt tokens",
    "output_tokens": "output tokens",
}


def show(result: Result, folder: Path | None, console: Console | None = None, *, force: bool = False) -> None:
    """Print the result of one run, and where its files are; P99s only of a steady run, unless forced."""
    console = console or Console(highlight=False)
    console.print(f"\n[bold]{result.scenario.name}[/bold]\n{setting(result.scenario)}")
    score = result.reported(force=force)
    _show_latencies(score, console)
    console.print(_outcome(score))
    _show_classes(score, console)
    if "pools" in score:
        console.print(_pools(score["pools"]))
    say(console, verdict_line(score["verdict"]))
    if folder is not None:
        console.print(f"tables and pictures: {folder}", soft_wrap=True)
        for file in sorted(folder.glob("*.png")):
            console.print(f"  {file}", soft_wrap=True)


def show_score(score: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a score: latencies, outcome, and each request where the score has a row for each."""
    console = console or Console(highlight=False)
    say(console, f"\n[bold]{escape(score['name'])}[/bold]\ntimes {score['choices']['times']}")
    if "requests" not in score:
        show_summary(score, console)
        return
    _show_latencies(score, console)
    console.print(_outcome(score))
    show_notes(score, console)
    _show_classes(score, console)
    if score.get("per_request"):
        console.print(_per_request(score["per_request"], score["choices"]["user"]))
    if "verdict" in score:
        say(console, verdict_line(score["verdict"]))


def show_summary(score: Mapping[str, Any], console: Console) -> None:
    """Print what a benchmark's summary tells: its latencies and amounts, and what it lacks."""
    printed = {key: one["tool"] for key, one in score["printed"].items()}
    latencies = Table(box=box.SIMPLE_HEAD)
    latencies.add_column("latency, as printed")
    for name in SUMMARY_QUANTILES:
        latencies.add_column(name, justify="right")
    for key, (words, scale) in LATENCIES.items():
        values = [printed.get(f"{key}.{q}") for q in SUMMARY_QUANTILES]
        if any(value is not None for value in values):
            latencies.add_row(words, *(_latency(value, scale, False) for value in values))
    amounts = Table(box=box.SIMPLE_HEAD, show_header=False)
    for key, words in AMOUNTS.items():
        if key in printed:
            amounts.add_row(words, plain(printed[key]))
    for table in (latencies, amounts):
        if table.row_count:
            console.print(table)
    show_notes(score, console)


def show_notes(score: Mapping[str, Any], console: Console) -> None:
    """Print what a file lacks and what was assumed of it, and where the score differs from what its tool printed."""
    for note in score.get("notes", ()):
        say(console, f"  {escape(note)}")
    held = {key: one for key, one in score.get("printed", {}).items() if one["here"] is not None}
    same = sum("why" not in one for one in held.values())
    if same:
        say(console, f"  {same} of {len(held)} numbers that the tool printed are the same here")
    for key, one in held.items():
        if "why" in one:
            say(console, f"  {key}: the tool has {plain(one['tool'])}, here {plain(one['here'])}: {one['why']}")


def verdict_line(verdict: Mapping[str, Any]) -> str:
    """Say in one line whether the run was steady, why, and what becomes of its P99s."""
    evidence = verdict["evidence"]
    words = ANSWERS[verdict["answer"]]
    seen = []
    if evidence.get("utilisation") is not None:
        seen.append(f"instances {100 * evidence['utilisation']:.0f} % busy")
    if "drain_s" in evidence:
        seen.append(f"drained {plain(evidence['drain_s'])} s after the last arrival")
    tails = f"; {P99S_WITHHELD}" if "withheld" in verdict else ""
    tails = f"; {P99S_MARKED}" if "forced" in verdict else tails
    return f"[bold]{words}[/bold]: {'; '.join([verdict['reason'], *seen])}{tails}"


def show_trace(stats: Mapping[str, Any], picture: Path | None, console: Console | None = None) -> None:
    """Print the numbers of a trace."""
    console = console or Console(highlight=False)
    console.print(f"\n[bold]{escape(str(stats['source']))}[/bold]")
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    for words, value in trace_rows(stats):
        table.add_row(words, value)
    console.print(table)
    lengths = Table(box=box.SIMPLE_HEAD)
    lengths.add_column("")
    columns = list(stats["prompt_tokens"])
    for column in columns:
        lengths.add_column(column, justify="right")
    for key in ("prompt_tokens", "output_tokens"):
        lengths.add_row(key.replace("_", " "), *(plain(stats[key][column]) for column in columns))
    console.print(lengths)
    if picture is not None:
        console.print(f"picture: {picture}", soft_wrap=True)


def trace_rows(stats: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say how requests arrive and how alike they begin, as far as that is known: names and values."""
    numbers = {
        "requests": stats["requests"],
        "first to last arrival, s": stats["duration_s"],
        "mean rate, requests/s": stats["mean_rate_per_s"],
        f"peak rate, over {stats['bin_s']:g} s": stats["peak_rate_per_s"],
        "gaps, standard deviation / mean (Poisson: 1)": stats["gap_cv"],
        f"counts in {stats['bin_s']:g} s, variance / mean (Poisson: 1)": stats["dispersion"],
    }
    shares = {
        "prompt tokens that an earlier prompt began with": stats["infinite_cache_hit_ratio"],
        "the same in whole blocks of the trace": stats["infinite_cache_block_hit_ratio"],
    }
    rows = [(words, plain(value)) for words, value in numbers.items() if value is not None]
    return rows + [(words, _percent(share)) for words, share in shares.items() if share is not None]


#: tables of a scenario that are told of where they are not as usual: they decide what becomes of tokens and requests
TOLD = ("clients", "host", "gateway", "patience", "retries", "abandonment", "delivery")


def setting(scenario: Scenario) -> str:
    """Say what serves, and what is unusual on the way to users."""
    scheduler = _with_options(scenario.scheduler.name, scenario.scheduler.options)
    behind = f"{_router(scenario)}, {scheduler}, seed {scenario.seed}"
    unusual = [f"{name}.{key} {value}" for name in TOLD for key, value in _unusual(scenario, name)]
    beside = [", ".join(unusual)] if unusual else []
    if not scenario.pool:
        return "\n".join((f"{_scaled(scenario)}{_gpus(scenario.cluster)}, {scenario.cluster.model}, {behind}", *beside))
    pools = (f"{pool.name}: {_gpus(cluster)}{_own_scheduler(pool)}" for pool, cluster in scenario.pools)
    return "\n".join((f"{scenario.cluster.model}, {behind}", *pools, *beside))


def _unusual(scenario: Scenario, name: str) -> Iterator[tuple[str, str]]:
    """Give the keys of a table, and of tables within it, whose values are not the default, and these."""
    table = getattr(scenario, name)
    values = table.model_dump(exclude_defaults=True)
    if type(table) is not type(Scenario.model_fields[name].default):  # of several kinds: another than usual
        values = {"policy": table.policy} | values
    for key, value in values.items():
        within = value.items() if isinstance(value, Mapping) else ()
        for place, of in [(f"{key}.{inner}", of) for inner, of in within] or [(key, value)]:
            yield place, plain(of) if isinstance(of, float) else in_words(of)


def _router(scenario: Scenario) -> str:
    """The router, and how old its news are, where there is more than one instance to tell apart."""
    choice = router_choice(scenario)
    name = _with_options(choice["name"], choice["options"])
    if scenario.most_instances == 1 or choice["reports"] is None:
        return name
    caches = ", caches: oracle" if choice["caches"] else ""
    if choice["reports"] == "oracle":
        return f"{name} (reports: oracle{caches})"
    own = "and" if choice["count_own_sends"] else "without"
    return f"{name} (reports every {choice['report_age_s']:g} s {own} its own sends since{caches})"


def _scaled(scenario: Scenario) -> str:
    """Between which numbers instances come and go, and why; before the number that there is at the start."""
    chosen = scenario.autoscaling
    if chosen is None:
        return ""
    bounds = f"{chosen.min_instances} to {chosen.max_instances} instances"
    return f"{bounds} by {chosen.metric} (target {chosen.target:g}, cold start {chosen.cold_start_s:g} s), at first "


def _gpus(cluster: ClusterTable) -> str:
    parallel = f" (TP{cluster.tensor_parallel_size})" if cluster.tensor_parallel_size > 1 else ""
    return f"{cluster.instances} x {cluster.gpu}{parallel}"


def _own_scheduler(pool: PoolTable) -> str:
    own = pool.scheduler
    said = _with_options(own.name, own.options) if own.name else _options(own.options)
    return f", {said}" if said else ""


def _with_options(name: str, options: Mapping[str, Any]) -> str:
    return f"{name} ({_options(options)})" if options else name


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in options.items())


def _show_latencies(score: Mapping[str, Any], console: Console) -> None:
    """Print the table of latencies, and what its marks mean."""
    console.print(_latencies(score))
    if cut := [score[key]["censored"] for key in OF_WAITS if _estimated(score, key)]:
        requests = plain(score["requests"]["total"])
        say(console, f"  {ESTIMATED} after Kaplan and Meier: up to {plain(max(cut))} of {requests} requests cut short")


def _estimated(score: Mapping[str, Any], key: str) -> bool:
    """Whether the percentiles of a wait are estimates, because some requests were cut short before its end."""
    row = score.get(key)
    return key in OF_WAITS and row is not None and bool(row["censored"]) and bool(row["n"])


def _latencies(score: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("latency")
    for name in (*QUANTILES, "n"):
        table.add_column(name, justify="right")
    marked = _marked(score)
    for key, (words, scale) in LATENCIES.items():
        row = score.get(key)
        if row is not None:
            values = (_latency(row[q], scale, f"{key}.{q}" in marked) for q in QUANTILES)
            table.add_row(words + f" {ESTIMATED}" * _estimated(score, key), *values, plain(row["n"]))
    return table


def _marked(score: Mapping[str, Any]) -> Sequence[str]:
    """Names of the percentiles that are shown although they are not to be relied on."""
    names: Sequence[str] = score.get("verdict", {}).get("forced", ())
    return names


def _latency(value_s: float | None, scale: float, marked: bool) -> str:
    return "–" if value_s is None else plain(value_s / scale) + "*" * marked


def _users(score: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Say how conversations and attempts went, and what was for nothing."""
    if talks := score.get("conversations"):
        ways = ", ".join(f"{plain(talks[way])} {way}" for way in ("complete", "broken", "unfinished") if talks[way])
        never = f"; {plain(talks['turns_never_sent'])} turns never sent" if talks["turns_never_sent"] else ""
        yield "conversations", f"{plain(talks['total'])}: {ways}{never}; whole run"
    if made := score.get("attempts"):
        again, well = plain(made["requests_tried_again"]), plain(made["of_these_finished"])
        each = f"{plain(made['per_request'])} a request"
        yield "attempts", f"{plain(made['total'])}, {each}; {again} requests tried again, {well} finished; whole run"
    wasted = score.get("wasted", {})
    if wasted.get("gpu_s"):
        share = _percent(wasted["gpu_s"] / wasted["busy_gpu_s"])
        yield "wasted", f"{plain(wasted['gpu_s'])} GPU s, {share} of the time in steps of the whole run"


def _outcome(score: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    for row in outcome_rows(score):
        table.add_row(*row)
    if "wall_s" in score:
        table.add_row("simulated", f"{plain(score['simulated_s'])} s in {plain(score['wall_s'])} s")
    return table


def outcome_rows(score: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say how requests ended and what was served, and by which choices: names and words."""
    counts = dict(score["requests"])
    total = counts.pop("total")
    ends = ", ".join(f"{plain(count)} {name}" for name, count in counts.items() if count)
    choices, slo = score["choices"], score["slo"]
    rows = [
        ("requests", f"{plain(total)}: {ends}"),
        *(("", f"{plain(one['requests'])} because {one['reason']}") for one in score.get("reasons", ())),
        *_users(score),
        ("throughput", _rate(score["output_tokens_per_s"], score["requests_per_s"])),
    ]
    if slo is not None:
        rows.append(("SLO attainment", f"{_percent(slo['attainment'])} of all requests: {_bounds(choices['slo'])}"))
        rows.append(("goodput", _rate(slo["goodput_tokens_per_s"], slo["goodput_requests_per_s"])))
    user, window = choices["user"], choices["window"]
    offset = f" + {user['offset_s']:g} s" if user["offset_s"] else ""
    reader = f"{user['tokens_per_s']:g} tokens/s from {user['anchor']}{offset}, alpha {user['alpha']:g}"
    rows.append(("smooth goodput", f"{plain(score['smooth_goodput_tokens_per_s'])} tokens/s"))
    rows.append(("  its reader", f"{reader}, {user['penalty']}"))
    rows.append(("window", _window(window)))
    if window["kind"] == "arrivals":
        rows.append(("", "goodputs: who arrives in it; throughput: what leaves in it"))
    if choices.get("measured_from") == "sent":
        rows.append(("latencies", "from the sending of a request, not its arrival at the client"))
    if told := score.get("prediction"):
        rows.append(("output lengths", prediction_in_words(told)))
    if stages := score.get("stages"):
        rows.append(("stages", _stages(stages)))
        rows.append(("", f"{plain(stages['joined'])} of {plain(stages['handed_over'])} handovers decoded there"))
    if scaling := score.get("autoscaling"):
        rows += _scaling_rows(scaling)
    if cache := score.get("prefix_cache"):
        rows.append(("prefix cache", f"{_percent(cache['hit_ratio'])} of prompt tokens found"))
    return rows


def _window(window: Mapping[str, Any]) -> str:
    """Say over what rates divide, and why it is not what was asked for."""
    if window["duration_s"] is None:
        return f"{window['kind']} of a length that is not known: no rates"
    said = f"{window['kind']}, {plain(window['start_s'])} to {plain(window['end_s'])} s"
    return said if window["kind"] == window["asked"] else f"{said}, since arrivals are a burst"


def _bounds(slo: Mapping[str, float | None]) -> str:
    bounds = ((name.removesuffix("_s").upper(), bound) for name, bound in slo.items())
    return ", ".join(f"{name} ≤ {bound:g} s" for name, bound in bounds if bound is not None)


def _scaling_rows(scaling: Mapping[str, Any]) -> list[tuple[str, str]]:
    told = f"{scaling['started']} started, {scaling['told_to_go']} told to go"
    shares = ", ".join(f"{state} {_percent(scaling[f'{state}_s'] / scaling['instance_s'])}" for state in STATES)
    tokens = scaling["usd_per_million_output_tokens"]
    return [
        ("instances", f"mean {plain(scaling['mean_instances'])}, peak {scaling['peak_instances']}; {told}"),
        ("instance-seconds", f"{plain(scaling['instance_s'])}: {shares}"),
        ("cost", f"{scaling['usd']:,.2f} USD, {plain(tokens)} per million output tokens"),
        ("", f"all instances all the time: {scaling['usd_with_max_instances']:,.2f} USD"),
    ]


def _pools(pools: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("pool")
    for head in ("instances", "requests", "finished", "tokens", "mean TTFT, ms", "busy"):
        table.add_column(head, justify="right")
    for name, pool in pools.items():
        first, last = pool["instances"]
        ttft = None if pool["mean_ttft_s"] is None else pool["mean_ttft_s"] / 1e-3
        counts = (plain(pool[key]) for key in ("requests", "finished", "output_tokens"))
        table.add_row(escape(name), plain(last - first), *counts, plain(ttft), _percent(pool["utilisation"]))
    return table


def prediction_in_words(told: Mapping[str, Any]) -> str:
    """Say what policies were told of output lengths; that it was the truth, where it was."""
    if told["oracle"]:
        return "ORACLE: policies see the true ones"
    off = f"off by {plain(told['mean_absolute_error_tokens'])} tokens in the mean"
    how = f"log-normal errors, sigma {told['sigma']:g}" if told["sigma"] else "never the wrong one"
    buckets = f"{len(told['edges_tokens']) + 1} buckets, " if told["predictor"] == "bucketed" else ""
    return f"predicted ({buckets}{how}), {off}"


def _show_classes(score: Mapping[str, Any], console: Console) -> None:
    """Print a row for each class of requests, if there are classes."""
    if not score.get("classes"):
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True)
    table.add_column("class,\ntimes in s", overflow="fold")
    for head in ("n", "TTFT p50", "TTFT p99", "TBT p99", "E2E p50", "SLO", "goodput,\ntokens/s"):
        table.add_column(head, justify="right")
    marked = _marked(score)
    for name, of in score["classes"].items():
        waits = (("ttft_s", "p50"), ("ttft_s", "p99"), ("tbt_s", "p99"), ("e2e_s", "p50"))
        cells = (_latency(of[table_of][q], 1.0, f"{table_of}.{q}" in marked) for table_of, q in waits)
        slo = of["slo"] or {"attainment": None, "goodput_tokens_per_s": None}
        met = (_percent(slo["attainment"]), plain(slo["goodput_tokens_per_s"]))
        table.add_row(escape(name), plain(of["requests"]["total"]), *cells, *met)
    console.print(table)
    own = {name: of["slo"]["bounds"] for name, of in score["classes"].items() if of["slo"] is not None}
    told = [f"{escape(name)}: {_bounds(slo)}" for name, slo in own.items() if slo != score["choices"]["slo"]]
    if told:
        say(console, f"SLO of its own: {'; '.join(told)}")


#: key of a row -> head of its column: twelve of them in 80 characters
REQUEST_COLUMNS = {
    "request": "#",
    "n_tokens": "n",
    "ttft_s": "TTFT",
    "max_gap_s": "max\ngap",
    "tpot_s": "TPOT",
    "last_token_s": "last\ntoken",
    "l_arrival_s": "l\narrival",
    "l_first_token_s": "l, 1st\nV (i-1)",
    "l_first_token_plus_v_s": "l, 1st\nV i",
    "qoe": "QoE",
    "fluidity": "fluid",
    "meets_slo": "SLO",
}


def _per_request(rows: Sequence[Mapping[str, Any]], user: Mapping[str, Any]) -> Table:
    title = f"Each request, in seconds; l with V = {user['seconds_per_token']:g} s and offset {user['offset_s']:g} s"
    caption = (
        "l: how late the latest token came for a reader who counts from the arrival, or from the first token (1st); "
        "QoE and fluidity ask for a token every V"
    )
    table = Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", caption=caption, caption_justify="left",
        padding=(0, 0, 0, 1), collapse_padding=True, show_edge=False, pad_edge=False,
    )  # fmt: skip
    for key, words in REQUEST_COLUMNS.items():
        if key in rows[0]:
            table.add_column(words, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(_exactly(row[key]) for key in REQUEST_COLUMNS if key in row))
    return table


def _exactly(value: float | bool | None) -> str:
    """Three decimals, as published tables have them, none from 1,000 on; zero without a sign."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, int) or abs(value) >= 1000:
        return plain(value)
    return f"{round(value, 3) + 0.0:.3f}"


def _rate(tokens_per_s: float | None, requests_per_s: float | None) -> str:
    return f"{plain(tokens_per_s)} tokens/s, {plain(requests_per_s)} requests/s"


def _stages(stages: Mapping[str, Any]) -> str:
    """Mean of each stage, in order."""
    parts = {name: row["mean"] for name, row in stages.items() if name.endswith("_s")}
    return ", ".join(
        f"{STAGES.get(name, name.removesuffix('_s').replace('_', ' '))} {plain(mean)} s" for name, mean in parts.items()
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


def plain(value: float | str | None) -> str:
    """Three significant digits or all before the point; whole numbers in full."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or 100 <= abs(value) < 1e12:
        return f"{value:,.0f}"
    return f"{value:.3g}"
