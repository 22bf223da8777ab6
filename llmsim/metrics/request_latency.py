"""Latency of requests and tokens: TTFT, TPOT, TBT, E2E, queueing delay, and their summaries.

All times are counted from the arrival at the cluster, in seconds. Percentiles over requests (TTFT, TPOT,
E2E) and over pooled tokens (TBT) are different populations: each summary names its own n. Requests that
were cut short are counted as censored, never left out in silence.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmsim.metrics import ranges
from llmsim.metrics.gaps import Gaps
from llmsim.metrics.summary import Summary, pooled_summary, summary
from llmsim.record import Floats, Timelines
from llmsim.request import Outcome


def ttft_s(timelines: Timelines) -> Floats:
    """Time to first token, t_1 = T_1 - arrival, (N,); NaN without a token."""
    return ranges.first_token_s(timelines) - timelines.arrival_s


def tpot_s(timelines: Timelines) -> Floats:
    """Time per output token after the first, (t_n - t_1) / (n - 1), (N,); NaN with fewer than two tokens."""
    rows = ranges.layout(timelines)
    span_s = ranges.last_token_s(timelines) - ranges.first_token_s(timelines)
    out = np.full(len(timelines), np.nan)
    several = rows.n_tokens > 1
    out[several] = span_s[several] / (rows.n_tokens[several] - 1)
    return out


def e2e_s(timelines: Timelines) -> Floats:
    """Arrival to last token of finished requests, (N,); NaN for every other outcome.

    A request that finished without a token (an empty answer) counts until its end.
    """
    last_s = ranges.last_token_s(timelines)
    last_s = np.where(np.isnan(last_s), timelines.end_s, last_s)
    return np.where(timelines.outcome == Outcome.FINISHED, last_s - timelines.arrival_s, np.nan)


def normalised_latency_s(timelines: Timelines) -> Floats:
    """E2E per output token of finished requests, t_n / n, (N,); NaN elsewhere (Orca, OSDI 2022)."""
    rows = ranges.layout(timelines)
    out = e2e_s(timelines)
    out[rows.n_tokens == 0] = np.nan
    return out / np.maximum(rows.n_tokens, 1)


def queueing_s(timelines: Timelines, first_scheduled_s: Floats) -> Floats:
    """Arrival to the first step that computed something for the request, (N,); NaN if never scheduled."""
    return first_scheduled_s - timelines.arrival_s


def share_with_gap_over(timelines: Timelines, gap_s: float) -> float:
    """Share of all requests that saw a gap longer than `gap_s` (a stall); NaN without requests."""
    if len(timelines) == 0:
        return float("nan")
    return float(np.mean(ranges.largest_gap_s(timelines) > gap_s))


def summarise_waits(timelines: Timelines, waits_s: Floats) -> Summary:
    """Summary over all requests of a wait from the arrival; NaN: cut short at `end_s` (Kaplan-Meier)."""
    missing = np.isnan(waits_s)
    if not missing.any():
        return summary(waits_s)
    cut_s = np.maximum(timelines.end_s - timelines.arrival_s, 0.0)
    return summary(waits_s[~missing], cut_s[missing])


def summarise_tpot(timelines: Timelines) -> Summary:
    """Summary of TPOT over the n requests with two tokens or more.

    `censored` of these n were cut short before their last token; they enter with the tokens they got.
    """
    values_s = tpot_s(timelines)
    measured = ~np.isnan(values_s)
    cut_short = int(np.sum(measured & (timelines.outcome != Outcome.FINISHED)))
    return replace(summary(values_s[measured]), censored=cut_short)


def summarise_tbt(timelines: Timelines) -> Summary:
    """Summary of the gaps between tokens, pooled over all requests; n counts gaps.

    `censored` counts the gaps left open: requests that had a token and were cut short while waiting for the
    next.
    """
    rows = ranges.layout(timelines)
    left_open = np.sum((rows.n_tokens > 0) & (timelines.outcome != Outcome.FINISHED))
    gaps = Gaps(timelines)
    return pooled_summary(gaps.population, gaps.total_s, int(left_open))
