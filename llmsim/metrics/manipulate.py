"""What an operator could do to a result without serving a single user better: drop the requests that miss their SLO.

The other manipulation, holding tokens back to the TBT bound, is `llmsim.delivery.output_delay`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmsim.metrics import ranges
from llmsim.metrics.slo import GRACE_S
from llmsim.metrics.tokens import Chunk, token_chunks
from llmsim.record import Floats, Timelines
from llmsim.request import Outcome
from llmsim.slo import Slo


def first_missed_s(timelines: Timelines, slo: Slo) -> Floats:
    """When each request first misses a deadline of the SLO (equations 2 to 4), (N,), absolute; infinite: never.

    A request that got too few tokens misses what fell due before its end. TPOT is missed when its last token is.
    """
    rows = ranges.layout(timelines)
    first_s = np.nan_to_num(ranges.first_token_s(timelines), nan=np.inf)
    last_s = ranges.last_token_s(timelines)
    served = timelines.outcome == Outcome.FINISHED
    done_s = np.where(served & (rows.n_tokens > 0), last_s, np.where(served, timelines.end_s, np.inf))
    due: list[tuple[Floats, Floats]] = []  # (deadline, when it was met)
    if slo.ttft_s is not None:
        due.append((timelines.arrival_s + slo.ttft_s, np.where(served & (rows.n_tokens == 0), -np.inf, first_s)))
    if slo.e2e_s is not None:
        due.append((timelines.arrival_s + slo.e2e_s, done_s))
    if slo.tpot_s is not None:
        due.append((first_s + np.maximum(rows.n_tokens - 1, 0) * slo.tpot_s, np.where(served, done_s, -np.inf)))
    missed_s = np.full(len(timelines), np.inf)
    for deadline_s, met_s in due:
        missed_s = np.where(met_s > deadline_s + GRACE_S, np.minimum(missed_s, deadline_s), missed_s)
    if slo.tbt_s is not None:
        missed_s = np.minimum(missed_s, _first_late_gap_s(timelines, slo.tbt_s))
    return np.where(missed_s <= np.where(served, np.inf, timelines.end_s), missed_s, np.inf)


def drop_those_that_miss(timelines: Timelines, slo: Slo) -> Timelines:
    """Abandon each request at its first missed deadline: it keeps the tokens that it has by then.

    No request uses the capacity that this frees. A request that ended early, before any deadline, stays as it is.
    """
    drop_s = first_missed_s(timelines, slo)
    n = np.zeros(len(timelines), np.int64)
    begin = np.zeros(len(timelines), np.int64)
    parts, at = [np.empty(0)], 0
    for chunk in token_chunks(timelines):
        in_time = chunk.times_s <= np.repeat(drop_s[chunk.requests], chunk.n_tokens)
        n[chunk.requests] = np.add.reduceat(in_time, chunk.begin, dtype=np.int64)
        begin[chunk.requests] = at + chunk.begin
        parts.append(chunk.times_s)
        at += len(chunk.times_s)
    has, dropped = np.flatnonzero(n), np.isfinite(drop_s)
    return replace(
        timelines,
        end_s=np.where(dropped, drop_s, timelines.end_s),
        outcome=np.where(dropped, Outcome.ABANDONED, timelines.outcome).astype(np.int8),
        request=has,
        head_s=np.full(len(has), np.nan),
        start=begin[has],
        count=n[has],
        times_s=np.concatenate(parts),
        paces=None,
        together=timelines.paces is not None or timelines.together,
    )


def _first_late_gap_s(timelines: Timelines, tbt_s: float) -> Floats:
    out = np.full(len(timelines), np.inf)
    for chunk in token_chunks(timelines):
        out[chunk.requests] = _late_gaps_s(chunk, tbt_s)
    # An unfinished request waits for a next token until it ends.
    last_s = ranges.last_token_s(timelines)
    cut = (timelines.outcome != Outcome.FINISHED) & (timelines.end_s > last_s + tbt_s + GRACE_S)
    out[cut] = np.minimum(out[cut], last_s[cut] + tbt_s)
    return out


def _late_gaps_s(chunk: Chunk, tbt_s: float) -> Floats:
    late = np.diff(chunk.times_s, prepend=chunk.times_s[:1]) > tbt_s + GRACE_S
    late[chunk.begin] = False
    due_s = np.where(late, np.roll(chunk.times_s, 1) + tbt_s, np.inf)
    return np.asarray(np.minimum.reduceat(due_s, chunk.begin))
