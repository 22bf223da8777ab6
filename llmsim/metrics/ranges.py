"""Questions about token times as range queries over step ends: cost grows with segments and steps.

Every per-request maximum is a range maximum over `Timelines.times_s` (or its gaps), every pooled count a
difference array over it. Where a metric truly needs each token, see `tokens.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from llmsim.metrics.convex_runs import Runs, Values, gap_runs, tilted_runs
from llmsim.record import DrawnPaces, Floats, Ints, Paces, Timelines
from llmsim.step_ends import StepEnds, Times

Bools = NDArray[np.bool_]

#: steps to work on at a time: few enough to stay in the processor's cache
BLOCK = 1 << 15
#: steps of requests that speculate, to work on at a time
CHUNK_STEPS = 1 << 15


@dataclass(frozen=True, eq=False)
class Layout:
    """The S segments that hold tokens, of N requests, and what follows from them; times in seconds."""

    request: Ints  #: (S,)
    head_s: Floats  #: (S,) NaN where there is none
    headed: Ints  #: (S,) 1 where there is a head
    start: Ints  #: (S,)
    count: Ints  #: (S,)
    steps: Ints  #: (S,) entries of times_s in the range
    paces: Paces | DrawnPaces | None  #: of these segments
    before: Ints  #: (S,) tokens of the same request in earlier segments
    first_s: Floats  #: (S,)
    last_s: Floats  #: (S,)
    opening: Ints  #: (R,) index of the first segment of each request that has tokens
    n_tokens: Ints  #: (N,)
    segments_before: Ints  #: (N + 1,) segments of earlier requests


#: what `layout` has worked out, for as long as the timelines exist; they never change
_LAYOUTS: WeakKeyDictionary[Timelines, Layout] = WeakKeyDictionary()


def layout(timelines: Timelines) -> Layout:
    """Return the index of the non-empty segments of `timelines`: O(N + S) the first time, then O(1)."""
    known = _LAYOUTS.get(timelines)
    if known is None:
        known = _LAYOUTS[timelines] = _index(timelines)
    return known


def _index(timelines: Timelines) -> Layout:
    headed = ~np.isnan(timelines.head_s)
    tokens = timelines.count + headed
    if (tokens == 0).any():
        keep = tokens > 0
        headed, tokens = headed[keep], tokens[keep]
        request, head_s = timelines.request[keep], timelines.head_s[keep]
        start, count = timelines.start[keep], timelines.count[keep]
        paces = None if timelines.paces is None else timelines.paces.take(keep)
    else:
        request, head_s = timelines.request, timelines.head_s
        start, count, paces = timelines.start, timelines.count, timelines.paces
    steps = count if paces is None else paces.steps(count)
    starts_request = np.diff(request, prepend=-1) != 0
    opening = np.flatnonzero(starts_request)
    through = np.cumsum(tokens)
    before_request = (through - tokens)[opening]
    n_tokens = np.zeros(len(timelines), np.int64)
    n_tokens[request[opening]] = np.diff(before_request, append=through[-1:] if len(through) else [])
    n_tokens.flags.writeable = False  # handed out to many, see `n_tokens`
    first_s, last_s = _edges(timelines.times_s, head_s, headed, start, steps)
    return Layout(
        request=request,
        head_s=head_s,
        headed=headed.astype(np.int64),
        start=start,
        count=count,
        steps=steps,
        paces=paces,
        before=through - tokens - before_request[np.cumsum(starts_request) - 1],
        first_s=first_s,
        last_s=last_s,
        opening=opening,
        n_tokens=n_tokens,
        segments_before=np.concatenate([[0], np.cumsum(np.bincount(request, minlength=len(timelines)))]).astype(
            np.int64
        ),
    )


def _edges(times_s: Times, head_s: Floats, headed: Bools, start: Ints, steps: Ints) -> tuple[Floats, Floats]:
    if len(times_s) == 0:
        return head_s, head_s
    ranged = steps > 0
    first_s = np.where(headed, head_s, times_s[np.where(ranged, start, 0)])
    last_s = np.where(ranged, times_s[np.where(ranged, start + steps - 1, 0)], head_s)
    return first_s, last_s


def n_tokens(timelines: Timelines) -> Ints:
    """Tokens delivered to each request, (N,)."""
    return layout(timelines).n_tokens


def first_token_s(timelines: Timelines) -> Floats:
    """Time of each request's first token, (N,), NaN where it has none."""
    rows = layout(timelines)
    out = np.full(len(timelines), np.nan)
    out[rows.request[rows.opening]] = rows.first_s[rows.opening]
    return out


def last_token_s(timelines: Timelines) -> Floats:
    """Time of each request's last token, (N,), NaN where it has none."""
    rows = layout(timelines)
    out = np.full(len(timelines), np.nan)
    closing = rows.segments_before[rows.request[rows.opening] + 1] - 1
    out[rows.request[rows.opening]] = rows.last_s[closing]
    return out


def range_max(values: Callable[[int, int], Floats], start: Ints, count: Ints) -> Floats:
    """Return the largest of the `count` values from `start` on, for every query, (Q,); -inf where count is 0.

    ``values(lo, hi)`` gives the values from lo to before hi; they are asked for, and worked on, in blocks that stay in
    the processor's cache. O(values log(max count) + Q), memory O(block + max count + Q).
    """
    out = np.full(len(start), -np.inf)
    block = start // BLOCK
    order = np.argsort(block, kind="stable")
    bounds = np.searchsorted(block[order], np.arange(int(block[order[-1]]) + 2 if len(order) else 0))
    for lo, hi in pairwise(bounds.tolist()):
        if hi > lo:
            queries = order[lo:hi]
            first, n = start[queries], count[queries]
            begin, end = int(first.min()), int((first + n).max())
            out[queries] = _block_max(values(begin, end), first - begin, n)
    return out


def _block_max(values: Floats, start: Ints, count: Ints) -> Floats:
    """Answer queries by a sparse table of which only one level is held at a time.

    Level k holds the maxima over 2^k values, and serves the queries with floor(log2(count)) = k.
    """
    out = np.full(len(start), -np.inf)
    level = np.frexp(count.astype(np.float64))[1].astype(np.int8) - 1
    order = np.argsort(level, kind="stable")
    bounds = np.searchsorted(level[order], np.arange(int(level[order[-1]]) + 2))
    table, spare, width = values, [np.empty_like(values), np.empty_like(values)], 1
    for lo, hi in pairwise(bounds.tolist()):
        if width > 1:
            half = width // 2
            table = np.maximum(table[:-half], table[half:], out=spare[0][: len(table) - half])
            spare.reverse()  # the next level is written where this one is not
        if hi > lo:
            rows = order[lo:hi]
            first = start[rows]
            out[rows] = np.maximum(table[first], table[first + count[rows] - width])
        width *= 2
    return out


def largest_gap_s(timelines: Timelines) -> Floats:
    """Largest time between consecutive tokens of each request, (N,), NaN with fewer than two tokens."""
    rows = layout(timelines)
    times_s = timelines.times_s
    gap_s = _largest_gaps_s(times_s, rows.start, np.maximum(rows.steps - 1, 0))
    led = np.flatnonzero((rows.headed == 1) & (rows.count > 0))
    gap_s[led] = np.maximum(gap_s[led], times_s[rows.start[led]] - rows.head_s[led])
    later = later_segments(rows)
    gap_s[later] = np.maximum(gap_s[later], rows.first_s[later] - rows.last_s[later - 1])
    out = _per_request_max(gap_s, rows)
    out[rows.n_tokens < 2] = np.nan
    return out


def _largest_gaps_s(times_s: Times, start: Ints, count: Ints) -> Floats:
    """Return the largest of the `count` gaps from `start` on, for every query, (Q,); -inf where count is 0."""
    if isinstance(times_s, StepEnds):
        runs = gap_runs(times_s, start, start + count)
        return _max_in_runs(runs, lambda at: times_s[at + 1] - times_s[at], start, count)
    return range_max(lambda lo, hi: np.diff(times_s[lo : hi + 1]), start, count)


def _max_in_runs(runs: Runs, values: Values, start: Ints, count: Ints) -> Floats:
    """`range_max` where values follow convex series."""
    places = runs.outer(values)
    found, begin = values(places), np.searchsorted(places, start)
    return range_max(lambda lo, hi: found[lo:hi], begin, np.searchsorted(places, start + count) - begin)


def max_over_line_s(timelines: Timelines, slope_s: float) -> Floats:
    """Max over i = 1..n of (T_i - slope i) for each request, (N,), absolute seconds; -inf without tokens.

    With T_i = times_s[j] and i = j + a constant within a segment, this is a range maximum of times_s[j] -
    slope j.
    """
    rows = layout(timelines)
    first_index = rows.before + rows.headed + 1  # i of the token at times_s[start]
    if rows.paces is None:
        late_s = _latest_s(timelines.times_s, slope_s, rows.start, rows.count) + slope_s * (rows.start - first_index)
    else:
        late_s = _latest_steps_s(timelines.times_s, rows, rows.paces, slope_s) - slope_s * first_index
    headed = rows.headed == 1
    late_s[headed] = np.maximum(late_s[headed], rows.head_s[headed] - slope_s * (rows.before[headed] + 1))
    return _per_request_max(late_s, rows)


def _latest_s(times_s: Times, slope_s: float, start: Ints, count: Ints) -> Floats:
    """Max over j of a range of times_s[j] - slope_s j, for every query, (Q,); -inf where count is 0."""
    if isinstance(times_s, StepEnds):
        runs = tilted_runs(times_s, slope_s, start, start + count)
        return _max_in_runs(runs, lambda at: times_s[at] - slope_s * at, start, count)
    return range_max(lambda lo, hi: times_s[lo:hi] - slope_s * np.arange(lo, hi), start, count)


def _latest_steps_s(times_s: Times, rows: Layout, paces: Paces | DrawnPaces, slope_s: float) -> Floats:
    """Max over the steps of each range of its end - slope times the tokens of the range before it, (S,).

    Of the tokens that come together, the first is the latest against a line. -inf for an empty range.
    """
    out = np.full(len(rows.steps), -np.inf)
    ranged = np.flatnonzero(rows.steps)
    through = np.cumsum(rows.steps[ranged])
    lo = 0
    while lo < len(ranged):
        done = through[lo - 1] if lo else 0
        hi = max(lo + 1, int(np.searchsorted(through, done + CHUNK_STEPS, side="right")))
        few, steps = ranged[lo:hi], rows.steps[ranged[lo:hi]]
        begin = np.cumsum(steps) - steps
        number = np.arange(int(steps.sum()))  # of each step, through all of these ranges
        tokens = _tokens_before(paces, few, steps, number, begin)
        late_s = times_s[number + np.repeat(rows.start[few] - begin, steps)] - slope_s * tokens
        out[few] = np.maximum.reduceat(late_s, begin)
        lo = hi
    return out


def _tokens_before(paces: Paces | DrawnPaces, few: Ints, steps: Ints, number: Ints, begin: Ints) -> Ints:
    """Tokens of the range before each step of a few ranges, whose steps are numbered through."""
    if isinstance(paces, DrawnPaces):
        return paces.take(np.repeat(few, steps)).tokens(number - np.repeat(begin, steps))
    gain = paces.gain[few]
    return Paces(np.repeat(gain, steps), np.repeat(paces.phase[few] - begin * gain, steps)).tokens(number)


def delivered_by(timelines: Timelines, bound_s: float) -> Ints:
    """Tokens of each request with T_i <= bound_s (one absolute time for all), (N,). O(S log tokens)."""
    rows = layout(timelines)
    tokens = np.where(rows.last_s <= bound_s, rows.count + rows.headed, 0)
    part = np.flatnonzero((rows.first_s <= bound_s) & (rows.last_s > bound_s))
    steps = _steps_by(timelines.times_s, bound_s, rows.start[part], rows.steps[part])
    seen = steps if rows.paces is None else np.minimum(rows.paces.take(part).tokens(steps), rows.count[part])
    tokens[part] = rows.headed[part] + seen
    through = np.concatenate([[0], np.cumsum(tokens)])
    return np.diff(through[rows.segments_before])


def _steps_by(times_s: Times, bound_s: float, start: Ints, count: Ints) -> Ints:
    """How many of times_s[start : start + count] are <= bound_s: a binary search in all ranges at once."""
    lo, hi = start.copy(), start + count
    while (open_ := np.flatnonzero(lo < hi)).size:
        mid = (lo[open_] + hi[open_]) // 2
        early = times_s[mid] <= bound_s
        lo[open_[early]] = mid[early] + 1
        hi[open_[~early]] = mid[~early]
    return lo - start


def later_segments(rows: Layout) -> Ints:
    """Segments that are not the first of their request."""
    later = np.ones(len(rows.request), np.bool_)
    later[rows.opening] = False
    return np.flatnonzero(later)


def _per_request_max(values: Floats, rows: Layout) -> Floats:
    out = np.full(len(rows.n_tokens), -np.inf)
    if len(rows.opening):
        out[rows.request[rows.opening]] = np.maximum.reduceat(values, rows.opening)
    return out


def select(timelines: Timelines, keep: Bools) -> Timelines:
    """The requests where `keep` (N,) holds, renumbered from 0; step ends are shared, not copied."""
    if keep.all():
        return timelines
    number = np.cumsum(keep) - 1
    kept = keep[timelines.request]
    return Timelines(
        arrival_s=timelines.arrival_s[keep],
        end_s=timelines.end_s[keep],
        outcome=timelines.outcome[keep],
        prompt_tokens=timelines.prompt_tokens[keep],
        output_tokens=timelines.output_tokens[keep],
        request=number[timelines.request[kept]],
        head_s=timelines.head_s[kept],
        start=timelines.start[kept],
        count=timelines.count[kept],
        times_s=timelines.times_s,
        paces=None if timelines.paces is None else timelines.paces.take(kept),
        together=timelines.together,
    )
