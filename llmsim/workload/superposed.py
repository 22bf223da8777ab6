"""More or fewer requests in the same time: a trace beside copies of itself at other times of it, or thinned at random.

Pressing a trace's times (`rate_scale`) shortens its bursts, its lulls and its users' think times too; this keeps them.
Independent users added to, or taken from, those recorded are what it stands for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.reading import MOST_REQUESTS
from llmsim.workload.arguments import positive
from llmsim.workload.prefixes import joined
from llmsim.workload.trace_rows import Rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def superposed(rows: Rows, times: float, rng: np.random.Generator) -> Rows:
    """Return about `times` as many requests over the same time, in order of arrival; the rows themselves at 1.

    Whole copies are moved by a random part of the trace's length, round its end to its beginning; of what is left of
    `times`, each conversation or single request is kept with that probability, as it is of the rows where `times` is
    below 1. Conversations stay whole. A copy shares no tokens with another one: its users are others. `rows` are in
    order of arrival, with times. InputError for a factor that is not positive, leaves nothing, or
    too much.
    """
    if positive("superpose", times) == 1:
        return rows
    if times * len(rows) > MOST_REQUESTS:
        raise InputError(f"superpose = {times:g} of {len(rows):,} requests: more than {MOST_REQUESTS:,}")
    unit = np.arange(len(rows)) if rows.session is None else np.unique(rows.session, return_inverse=True)[1]
    copies = [_copy(rows, unit, share, number, rng) for number, share in enumerate(_shares(times))]
    if not any(len(copy) for copy in copies):
        raise InputError(f"superpose = {times:g} leaves none of {len(rows)} requests; expected a larger share")
    together = _joined(copies)
    return together.take(np.argsort(together.arrival_s, kind="stable"))


def _shares(times: float) -> list[float]:
    """How much of the trace each copy has: all of it, and the last what is left."""
    whole = int(times)
    left = times - whole
    return [1.0] * whole + ([left] if left > 0 else [])


def _copy(rows: Rows, unit: Ints, share: float, number: int, rng: np.random.Generator) -> Rows:
    """Keep a share of the conversations; all but the first copy are moved in time."""
    first = np.unique(unit, return_index=True)[1]  # rows are in order of arrival
    kept = rng.random(len(first)) < share
    begins_s = rows.arrival_s[first]
    moved_s = np.zeros(len(first)) if number == 0 else _moved_s(begins_s, float(rng.random()))
    copy = replace(rows, arrival_s=rows.arrival_s + moved_s[unit])
    return copy.take(kept[unit])


def _moved_s(begins_s: Floats, share: float) -> Floats:
    """By how much each conversation is moved, (conversations,): by a share of the length, from its end to its start."""
    start_s, n = float(begins_s.min()), len(begins_s)
    length_s = float(np.ptp(begins_s)) * n / max(n - 1, 1)  # with a gap between the last and the first
    if length_s == 0:
        return np.zeros(n)
    return start_s + (begins_s - start_s + share * length_s) % length_s - begins_s


def _joined(copies: list[Rows]) -> Rows:
    """All copies as one; conversations and prefixes of each have numbers of their own."""
    first = copies[0]
    ends = np.cumsum([0, *(len(copy) for copy in copies)])
    prefixes = [copy.prefixes for copy in copies if copy.prefixes is not None]
    groups = [(np.arange(a, b), each) for a, b, each in zip(ends, ends[1:], prefixes, strict=False)]
    sessions = [copy.session for copy in copies if copy.session is not None]
    step = max((int(session.max()) + 1 for session in sessions), default=0)
    delays = [copy.delay_s for copy in copies if copy.delay_s is not None]
    quality = [copy.quality for copy in copies if copy.quality is not None]
    return replace(
        first,
        arrival_s=np.concatenate([copy.arrival_s for copy in copies]),
        prompt_tokens=np.concatenate([copy.prompt_tokens for copy in copies]),
        output_tokens=np.concatenate([copy.output_tokens for copy in copies]),
        prefixes=joined(groups) if groups else None,
        session=np.concatenate([s + i * step for i, s in enumerate(sessions)]) if sessions else None,
        delay_s=np.concatenate(delays) if delays else None,
        quality=np.concatenate(quality) if quality else None,
    )
