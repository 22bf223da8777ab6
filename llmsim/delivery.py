"""From emitted to delivered: what a gateway does to tokens on their way from the GPU to the user.

Holding tokens back changes what users see, never what the GPU does: delivered_i >= emitted_i. A request that finished
gets all of its tokens, the last ones later. For any other request delivery ends when the request does: what was still
held then is lost. Users are not taken to react to the delay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from llmsim.errors import InputError
from llmsim.record import Floats, Ints, Timelines
from llmsim.request import Outcome

CHUNK_TOKENS = 4_000_000


def immediate(timelines: Timelines) -> Timelines:
    """Deliver every token as it is emitted."""
    return timelines


def paced(
    timelines: Timelines,
    *,
    tbt_s: float | None = None,
    tokens_per_s: float | None = None,
    ttft_s: float = 0.0,
) -> Timelines:
    """Hold tokens to a gap, to a rate, or the first token back; give at least one, and not both gap and rate.

    `tbt_s`: delivered_i = max(emitted_i, delivered_{i-1} + tbt_s), so that no gap is shorter. `tokens_per_s`:
    delivered_i = max(emitted_i, delivered_1 + (i - 1) / tokens_per_s), so that tokens which a stall made late catch
    up at once. `ttft_s`: the first token no earlier than this after the arrival (0: as it is emitted), and no later
    token before the first. The result holds its token times explicitly: 8 bytes a token.
    """
    _check(tbt_s, tokens_per_s, ttft_s)
    n_tokens = _tokens_of_requests(timelines)
    before = np.concatenate([[0], np.cumsum(n_tokens)])
    times_s = np.empty(int(before[-1]))
    first_s = timelines.arrival_s + ttft_s
    for lo, hi in _chunks(before):
        part, n = slice(before[lo], before[hi]), n_tokens[lo:hi]
        emitted_s = _emitted(timelines, lo, hi)
        begin, has = before[lo:hi] - before[lo], n > 0
        emitted_s[begin[has]] = np.maximum(emitted_s[begin[has]], first_s[lo:hi][has])
        if tokens_per_s is not None:
            times_s[part] = _held_to_rate(emitted_s, begin[has], n[has], tokens_per_s)
        else:
            times_s[part] = _held_to_gap(emitted_s, begin[has], n[has], tbt_s or 0.0)
    return _delivered(timelines, times_s, before, n_tokens)


def shifted(timelines: Timelines, by_s: float) -> Timelines:
    """Everything that the engine sends, this much later: what an API server and a network do."""
    if by_s == 0:
        return timelines
    later = {name: getattr(timelines, name) + by_s for name in ("end_s", "head_s", "times_s")}
    return replace(timelines, **later)


def until_left(timelines: Timelines, left_s: Floats) -> Timelines:
    """Cut off what came after users left: (N,) seconds, NaN for users that stayed."""
    if not np.isfinite(left_s).any():
        return timelines
    head_s, count, steps = timelines.head_s.copy(), timelines.count.copy(), timelines.steps
    paces = timelines.paces
    left_of_segment = left_s[timelines.request]
    for s in np.flatnonzero(np.isfinite(left_of_segment)):
        start = timelines.start[s]
        seen = np.searchsorted(timelines.times_s[start : start + steps[s]], left_of_segment[s], side="right")
        count[s] = seen if paces is None else min(count[s], paces.take(slice(s, s + 1)).tokens(seen)[0])
        if head_s[s] > left_of_segment[s]:
            head_s[s] = np.nan
    keep = (count > 0) | ~np.isnan(head_s)
    return replace(
        timelines,
        end_s=np.where(np.isfinite(left_s), left_s, timelines.end_s),
        request=timelines.request[keep],
        head_s=head_s[keep],
        start=timelines.start[keep],
        count=count[keep],
        paces=None if paces is None else paces.take(keep),
    )


def output_delay(timelines: Timelines, tbt_s: float) -> Timelines:
    """The paper's output delay (arXiv 2410.14257): every token waits until the TBT bound after the one before it.

    Stalls are hidden behind tokens held back earlier, so that gaps rarely exceed the bound, and no token is earlier.
    """
    return paced(timelines, tbt_s=tbt_s)


def _check(tbt_s: float | None, tokens_per_s: float | None, ttft_s: float) -> None:
    if tbt_s is not None and tokens_per_s is not None:
        raise InputError("delivery: tbt_s and tokens_per_s exclude each other; give one of them")
    if tbt_s is None and tokens_per_s is None and ttft_s == 0:
        raise InputError("delivery: policy 'paced' needs tbt_s, tokens_per_s or ttft_s")
    for name, value in (("tbt_s", tbt_s), ("tokens_per_s", tokens_per_s)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"delivery.{name}: expected more than 0, got {value!r}")
    if not (math.isfinite(ttft_s) and ttft_s >= 0):
        raise InputError(f"delivery.ttft_s: expected seconds, 0 or more, got {ttft_s!r}")


def _tokens_of_requests(timelines: Timelines) -> Ints:
    """Tokens of each request, (N,)."""
    tokens = timelines.count + ~np.isnan(timelines.head_s)
    through = np.concatenate([[0], np.cumsum(tokens)])
    edges = np.searchsorted(timelines.request, np.arange(len(timelines) + 1))
    return np.diff(through[edges])


def _chunks(before: Ints) -> Iterator[tuple[int, int]]:
    """Cut requests into runs of at most CHUNK_TOKENS tokens (longer requests alone)."""
    lo, n = 0, len(before) - 1
    while lo < n:
        hi = max(lo + 1, int(np.searchsorted(before, before[lo] + CHUNK_TOKENS, side="right")) - 1)
        yield lo, hi
        lo = hi


def _emitted(timelines: Timelines, lo: int, hi: int) -> Floats:
    """All token times of the requests lo to hi - 1, one after another."""
    part = slice(*np.searchsorted(timelines.request, [lo, hi]))
    return timelines.tokens_s(part)


def _held_to_gap(emitted_s: Floats, begin: Ints, n: Ints, gap_s: float) -> Floats:
    """The recurrence itself, token by token, for all requests at once; in place."""
    order = np.argsort(-n, kind="stable")
    begin, n = begin[order], n[order]
    latest_s = emitted_s[begin]
    alive = np.searchsorted(-n, -np.arange(1, n.max(initial=0)), side="left")
    for i, m in enumerate(alive.tolist(), start=1):
        at = begin[:m] + i
        latest_s[:m] = np.maximum(emitted_s[at], latest_s[:m] + gap_s)
        emitted_s[at] = latest_s[:m]
    return emitted_s


def _held_to_rate(emitted_s: Floats, begin: Ints, n: Ints, tokens_per_s: float) -> Floats:
    place = np.arange(len(emitted_s)) - np.repeat(begin, n)
    return np.maximum(emitted_s, np.repeat(emitted_s[begin], n) + place / tokens_per_s)


def _delivered(timelines: Timelines, times_s: Floats, before: Ints, n_tokens: Ints) -> Timelines:
    """Timelines over explicit times; what comes after the end of an unfinished request is cut off."""
    finished = timelines.outcome == Outcome.FINISHED
    count = n_tokens.copy()
    for one in np.flatnonzero(~finished & (n_tokens > 0)):
        count[one] = np.searchsorted(times_s[before[one] : before[one + 1]], timelines.end_s[one], side="right")
    has = np.flatnonzero(count)
    end_s = timelines.end_s.copy()
    last = has[finished[has]]
    end_s[last] = np.maximum(end_s[last], times_s[before[last + 1] - 1])
    return replace(
        timelines,
        end_s=end_s,
        request=has,
        head_s=np.full(len(has), np.nan),
        start=before[has],
        count=count[has],
        times_s=times_s,
        paces=None,
        together=timelines.paces is not None or timelines.together,
    )
