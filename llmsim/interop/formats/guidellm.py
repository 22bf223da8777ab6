"""Results of GuideLLM: benchmarks.json or .yaml, one benchmark for each rate that it tried.

Requests have their first and last token's time and the number of tokens: the gaps between are not saved. Before 0.4
times stand in the request itself, since then under `info.timings`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from llmsim.errors import InputError
from llmsim.interop.answers import Answer, each
from llmsim.interop.document import Document
from llmsim.interop.format import Format
from llmsim.interop.measured import Load, MeasuredResult, of_answers, of_summary
from llmsim.interop.place import Place, known_number, short
from llmsim.request import Outcome

STATUSES = {"successful": Outcome.FINISHED, "errored": Outcome.ABANDONED, "incomplete": Outcome.CANCELLED}
#: GuideLLM's metric -> ours, seconds. Its inter-token latency is a mean for each request; its time per output token
#: counts the first token in, and is nothing that others have
LATENCIES = {
    "time_to_first_token_ms": ("ttft_s", 1e-3),
    "inter_token_latency_ms": ("tpot_s", 1e-3),
    "request_latency": ("e2e_s", 1.0),
}
RATES = {"requests_per_second": "requests_per_s", "output_tokens_per_second": "output_tokens_per_s"}
LACKS = "no requests in the file: its sample size was 0 (GuideLLM keeps all of them unless told otherwise)"
ITS_WINDOW = "GuideLLM's rates are means over its own measuring time, without warm-up and cool-down"


class Guidellm(Format):
    """GuideLLM's report."""

    tool = "GuideLLM"

    @classmethod
    def recognises(cls, document: Document) -> bool:
        """A list of benchmarks, which are GuideLLM's by their type or their parts."""
        benchmarks = document.whole.get("benchmarks")
        if not isinstance(benchmarks, list):
            return False
        first = benchmarks[0] if benchmarks and isinstance(benchmarks[0], Mapping) else {}
        kind = str(first.get("type_", ""))
        return "generative" in kind or bool({"requests", "metrics", "scheduler_metrics", "run_stats"} & first.keys())

    @classmethod
    def read(cls, document: Document) -> list[MeasuredResult]:
        """A run for each benchmark. InputError names file, request and field of what makes it useless."""
        return [
            _benchmark(Place(document.path, f"benchmark {number}"), one)
            for number, one in enumerate(document.whole["benchmarks"], start=1)
        ]


def _benchmark(place: Place, benchmark: Any) -> MeasuredResult:
    benchmark = place.table("the benchmark", benchmark)
    rows = _requests(place, benchmark.get("requests"))
    printed, load = _printed(benchmark.get("metrics")), _load(benchmark)
    if not rows:
        if not printed:
            raise InputError(f"{place.file}: {place.where}: GuideLLM, with neither requests nor metrics in it")
        return of_summary(Guidellm.tool, printed, LACKS, load=load)
    answers, odd = each(len(rows), lambda i: _answer(Place(place.file, f"{place.where}, request {i}"), *rows[i]))
    cut = sum(one.outcome == Outcome.CANCELLED for one in answers)
    notes = [*odd, *([f"{cut} requests were under way when the benchmark ended"] if cut else [])]
    why = dict.fromkeys(RATES.values(), ITS_WINDOW)
    return of_answers(Guidellm.tool, answers, notes=notes, printed=printed, load=load, differs=why)


def _requests(place: Place, requests: Any) -> list[tuple[Any, Outcome]]:
    """All requests of the benchmark and how each ended."""
    if requests is None:
        return []
    if isinstance(requests, list):  # 0.1
        return [(one, Outcome.FINISHED) for one in requests]
    by_status = place.table("requests", requests)
    rows = []
    for status, outcome in STATUSES.items():
        some = by_status.get(status) or []
        if not isinstance(some, list):
            raise place.error(f"requests.{status}", f"expected a list, got {short(some)}")
        rows += [(one, outcome) for one in some]
    return rows


def _answer(place: Place, request: Any, outcome: Outcome) -> Answer:
    request = place.table("the request", request)
    info = request.get("info")
    timings = info.get("timings") if isinstance(info, Mapping) else None
    timings = timings if isinstance(timings, Mapping) else {}
    start_s = _time(place, "request_start", timings.get("request_start"), request, "request_start_time", "start_time")
    end_s = _time(place, "request_end", timings.get("request_end"), request, "request_end_time", "end_time")
    if outcome != Outcome.FINISHED:
        start_s = start_s if start_s is not None else _time(place, "resolve_start", timings.get("resolve_start"), {})
        end_s = end_s if end_s is not None else _time(place, "resolve_end", timings.get("resolve_end"), {})
    if start_s is None or end_s is None or end_s < start_s:
        raise place.error("request_start, request_end", "expected two times, the second no earlier than the first")
    first_s = _time(place, "first_token", timings.get("first_token_iteration", timings.get("first_iteration")),
                    request, "first_token_time")  # fmt: skip
    last_s = _time(place, "last_token", timings.get("last_token_iteration", timings.get("last_iteration")),
                   request, "last_token_time")  # fmt: skip
    tokens = _tokens(place, request, "output_tokens", "output_metrics")
    streamed = first_s is not None and last_s is not None
    edges_s = [first_s, last_s] if streamed else [end_s] if outcome == Outcome.FINISHED else []
    if outcome == Outcome.FINISHED and tokens is None:
        raise place.error("output_tokens", "is missing")
    n = (tokens or 0) if outcome == Outcome.FINISHED or streamed else 0
    chunks_s = np.array(edges_s, dtype=np.float64) - start_s if n else np.empty(0)
    return Answer(
        chunks_s=place.ascending("first_token, last_token", chunks_s),
        tokens=n,
        sent_s=start_s,
        prompt_tokens=_tokens(place, request, "prompt_tokens", "input_metrics") or 0,
        outcome=outcome,
        end_s=None if outcome == Outcome.FINISHED and streamed and n == 1 else end_s - start_s,
        spread=n > 1,
        error=str((info or {}).get("error") or request.get("error") or "") if isinstance(info, Mapping | None) else "",
    )


def _time(place: Place, name: str, value: Any, otherwise: Mapping[str, Any], *keys: str) -> float | None:
    """A time of `value`, or of the first of the keys that says one."""
    for key, one in ((name, value), *((key, otherwise.get(key)) for key in keys)):
        if one is not None:
            return place.number(key, one)
    return None


def _tokens(place: Place, request: Mapping[str, Any], key: str, metrics: str) -> int | None:
    """A number of tokens: computed by GuideLLM, or as it was counted."""
    value = request.get(key)
    usage = request.get(metrics)
    if value is None and isinstance(usage, Mapping):
        value = usage.get("total_tokens", usage.get("text_tokens"))
    return None if value is None else place.count(key, value)


def _printed(metrics: Any) -> dict[str, float]:
    """Its statistics of successful requests, under the names of a score."""
    found: dict[str, float] = {}
    metrics = metrics if isinstance(metrics, Mapping) else {}
    for theirs, (ours, factor) in LATENCIES.items():
        one = _successful(metrics.get(theirs))
        percentiles = one.get("percentiles")
        values = {"mean": one.get("mean")}
        if isinstance(percentiles, Mapping):
            values |= {name: percentiles.get(name) for name in ("p50", "p90", "p95", "p99")}
        numbers = {name: known_number(value) for name, value in values.items()}
        found |= {f"{ours}.{name}": value * factor for name, value in numbers.items() if value is not None}
    for theirs, ours in RATES.items():
        value = known_number(_successful(metrics.get(theirs)).get("mean"))
        if value is not None:
            found[ours] = value
    return found


def _successful(metric: Any) -> Mapping[str, Any]:
    one = metric.get("successful") if isinstance(metric, Mapping) else None
    return one if isinstance(one, Mapping) else {}


def _load(benchmark: Mapping[str, Any]) -> Load:
    """How it was sent: the strategy, wherever its version keeps it."""
    for key in ("config", "args", "scheduler"):
        table = benchmark.get(key)
        strategy = table.get("strategy") if isinstance(table, Mapping) else None
        if isinstance(strategy, Mapping):
            break
    else:
        return Load()
    kind = str(strategy.get("type_", ""))
    rate, streams = known_number(strategy.get("rate")), known_number(strategy.get("streams"))
    streams = known_number(strategy.get("max_concurrency")) if streams is None else streams
    cap = int(streams) if streams is not None and streams >= 1 else None
    if kind in ("constant", "poisson") and rate and rate > 0:
        return Load(rate, 1.0 if kind == "poisson" else math.inf, cap)
    if kind == "synchronous":
        return Load(rate_per_s=math.inf, max_concurrency=1)
    if kind in ("concurrent", "throughput"):
        return Load(rate_per_s=math.inf, max_concurrency=cap)
    return Load(max_concurrency=cap)  # such as a trace's replay: at the times that requests have
