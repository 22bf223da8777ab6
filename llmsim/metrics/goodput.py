"""Throughput, and the many things called goodput, each under its own name.

`slo_tokens_per_s` (eq. 7 of arXiv 2410.14257), `slo_requests_per_s` (vLLM's request_goodput),
`distserve_rate_per_gpu` (the highest rate per GPU with enough attainment) are three different numbers.
Rates count the requests of a `Window`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmsim.errors import InputError
from llmsim.metrics import ranges, request_latency
from llmsim.metrics.gaps import Gaps
from llmsim.metrics.slo import GRACE_S, meets
from llmsim.metrics.tokens import token_chunks
from llmsim.metrics.window import ARRIVALS, Span, Window, per_second, resolve
from llmsim.record import Floats, Ints, Timelines
from llmsim.request import Outcome
from llmsim.slo import Slo
from llmsim.statistics.percentiles import percentiles_of


def throughput_tokens_per_s(timelines: Timelines, window: Window = ARRIVALS) -> float:
    """Tokens delivered to the requests of the window, at any time, / T: smooth goodput with alpha = 0."""
    span = resolve(window, timelines)
    return per_second(float(ranges.n_tokens(timelines)[span.counted].sum()), span)


def delivered_tokens_per_s(timelines: Timelines, span: Span) -> float:
    """Tokens delivered inside the window to any request, / T: never more than the system can do."""
    if span.kind == "makespan":  # of all requests, also where a benchmark's clock stopped before the last token
        return per_second(float(ranges.n_tokens(timelines).sum()), span)
    by_end = ranges.delivered_by(timelines, span.end_s)
    before = ranges.delivered_by(timelines, np.nextafter(span.start_s, -np.inf))
    return per_second(float((by_end - before).sum()), span)


def finished_requests_per_s(timelines: Timelines, span: Span) -> float:
    """Requests that finished inside the window, divided by T."""
    inside = (timelines.end_s >= span.start_s) & (timelines.end_s <= span.end_s) | (span.kind == "makespan")
    return per_second(float(np.sum(inside & (timelines.outcome == Outcome.FINISHED))), span)


def slo_tokens_per_s(timelines: Timelines, slo: Slo, window: Window = ARRIVALS) -> float:
    """Goodput of eq. 7: tokens of the requests that meet the SLO, divided by T."""
    span = resolve(window, timelines)
    good = span.counted & meets(timelines, slo)
    return per_second(float(ranges.n_tokens(timelines)[good].sum()), span)


def slo_requests_per_s(timelines: Timelines, slo: Slo, window: Window = ARRIVALS) -> float:
    """Requests that meet the SLO, divided by T (`request_goodput` of vLLM and SGLang)."""
    span = resolve(window, timelines)
    return per_second(float(np.sum(span.counted & meets(timelines, slo))), span)


def distserve_rate_per_gpu(
    rates_per_s: Sequence[float], attainments: Sequence[float], *, gpus: int, target: float = 0.9
) -> float | None:
    """Highest tested rate per GPU up to which all attain `target` (DistServe, OSDI 2024); None: none."""
    best = None
    for rate, share in sorted(zip(rates_per_s, attainments, strict=True)):
        if share < target:
            break
        best = rate / gpus
    return best


def mooncake(timelines: Timelines, slo: Slo, window: Window = ARRIVALS) -> dict[str, float]:
    """Mooncake's view: tokens/s of requests that complete within the SLO; those of the others are waste."""
    good = slo_tokens_per_s(timelines, slo, window)
    return {
        "effective_tokens_per_s": good,
        "wasted_tokens_per_s": throughput_tokens_per_s(timelines, window) - good,
    }


def mooncake_holds(
    timelines: Timelines,
    *,
    unloaded_ttft_s: float,
    unloaded_tbt_s: float,
    ttft_times: float = 10,
    tbt_times: float = 5,
) -> bool:
    """Mooncake's relative SLO: P90 of TTFT <= 10 x and of pooled TBT <= 5 x the unloaded value.

    False where the P90 of TTFT is unknown, because too many requests were cut short before their first token.
    """
    ttft = request_latency.summarise_waits(timelines, request_latency.ttft_s(timelines))["p90"]
    tbt = request_latency.summarise_tbt(timelines)["p90"]
    return (
        ttft is not None
        and ttft <= ttft_times * unloaded_ttft_s + GRACE_S
        and (tbt is None or tbt <= tbt_times * unloaded_tbt_s + GRACE_S)
    )


def sarathi_holds(
    timelines: Timelines, first_scheduled_s: Floats, *, tbt_s: float, median_delay_s: float = 2.0
) -> bool:
    """Sarathi's capacity test (OSDI 2024): P99 of the pooled gaps <= tbt_s, median scheduling delay <= 2 s.

    A request never scheduled counts as delayed beyond any bound.
    """
    p99 = percentiles_of(Gaps(timelines).population, [99.0])[0]
    return not p99 > tbt_s + GRACE_S and _delay_percentile_s(timelines, first_scheduled_s, 50) <= median_delay_s


def vidur_holds(timelines: Timelines, first_scheduled_s: Floats, *, p99_delay_s: float = 5.0) -> bool:
    """Vidur's capacity test: the 99th percentile of the scheduling delay is below 5 s (MLSys 2024)."""
    return _delay_percentile_s(timelines, first_scheduled_s, 99) < p99_delay_s


def _delay_percentile_s(timelines: Timelines, first_scheduled_s: Floats, percentile: float) -> float:
    delay_s = request_latency.queueing_s(timelines, first_scheduled_s)
    delay_s = np.where(np.isnan(delay_s), np.inf, delay_s)
    if len(delay_s) == 0:
        return float("nan")
    # "higher" takes no mean between a delay and infinity, which would be NaN.
    return float(np.percentile(delay_s, percentile, method="higher"))


def tokens_on_time(timelines: Timelines, *, offset_s: float, seconds_per_token: float) -> Ints:
    """Tokens of each request with t_i <= offset_s + i seconds_per_token, (N,).

    JITServe and PolyServe: offset TTFT*. Aegaeon, whose first token is due at TTFT*: offset TTFT* - TBT*.
    """
    rows = ranges.layout(timelines)
    worst_s = ranges.max_over_line_s(timelines, seconds_per_token) - timelines.arrival_s
    out = rows.n_tokens.copy()
    some_late = worst_s > offset_s + GRACE_S
    if some_late.any():
        out[some_late] = _count_on_time(ranges.select(timelines, some_late), offset_s, seconds_per_token)
    return out


def _count_on_time(timelines: Timelines, offset_s: float, seconds_per_token: float) -> Ints:
    out = np.zeros(len(timelines), np.int64)
    for chunk in token_chunks(timelines):
        due_s = np.repeat(timelines.arrival_s[chunk.requests] + offset_s + GRACE_S, chunk.n_tokens)
        on_time = chunk.times_s <= due_s + chunk.index() * seconds_per_token
        out[chunk.requests] = np.add.reduceat(on_time, chunk.begin, dtype=np.int64)
    return out


def jitserve_tokens_per_s(timelines: Timelines, slo: Slo, window: Window = ARRIVALS) -> float:
    """JITServe's token goodput: tokens with t_i <= TTFT* + i TBT*, per second. Needs both bounds in `slo`."""
    ttft_s, tbt_s = _ttft_and_tbt(slo)
    span = resolve(window, timelines)
    good = tokens_on_time(timelines, offset_s=ttft_s, seconds_per_token=tbt_s)
    return per_second(float(good[span.counted].sum()), span)


def aegaeon_attainment(timelines: Timelines, slo: Slo) -> float:
    """Aegaeon's share of all tokens asked for that came by TTFT* + (i - 1) TBT*; undelivered ones miss.

    NaN where none was asked for. Needs `slo.ttft_s` and `slo.tbt_s`.
    """
    ttft_s, tbt_s = _ttft_and_tbt(slo)
    good = tokens_on_time(timelines, offset_s=ttft_s - tbt_s, seconds_per_token=tbt_s)
    asked = int(np.maximum(timelines.output_tokens, ranges.n_tokens(timelines)).sum())
    return int(good.sum()) / asked if asked else float("nan")


def _ttft_and_tbt(slo: Slo) -> tuple[float, float]:
    if slo.ttft_s is None or slo.tbt_s is None:
        raise InputError("slo: deadlines per token need both ttft_s and tbt_s")
    return slo.ttft_s, slo.tbt_s


def undelivered_use(timelines: Timelines) -> int:
    """Tokens delivered to requests that did not finish: work for no full answer."""
    return int(ranges.n_tokens(timelines)[timelines.outcome != Outcome.FINISHED].sum())


def vtc_service_tokens(timelines: Timelines, output_weight: float = 2.0) -> Floats:
    """Service as VTC (OSDI 2024) counts it: prompt + 2 x output tokens per request, (N,); 0 without any."""
    n = ranges.n_tokens(timelines)
    return np.where(n > 0, timelines.prompt_tokens + output_weight * n, 0.0)


def cost_per_million_tokens(tokens_per_s: float, cost_per_hour: float) -> float:
    """Cost of a million tokens at this rate, in the currency of `cost_per_hour`; infinite at rate 0."""
    return cost_per_hour / 3600 / tokens_per_s * 1e6 if tokens_per_s > 0 else float("inf")
