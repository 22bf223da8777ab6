"""Conversations of a trace: turns that come so long after the end of the turn before, and what they repeat."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.workload.prefixes import Prefixes
from llmsim.workload.sessions import NO_REQUEST, Sessions
from llmsim.workload.trace_rows import Rows

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: draws when so many requests come: (requests,), ascending, seconds
Draw = Callable[[int], Floats]


def timed(path: Path, rows: Rows, draw: Draw | None = None) -> tuple[Rows, Floats]:
    """Give each turn the earliest time that it may come, and return these times' conversations' beginnings.

    A turn with a delay comes that long after the end of the turn before it, at the earliest after its arrival. `draw`
    says when conversations and requests by themselves come, in order of the file. Raises InputError if the first turn
    of a conversation has no time, and for `draw` where later turns have times of their own.
    """
    if rows.session is None:
        rows = rows if draw is None and not rows.timeless else _begun(path, rows, np.full(len(rows), NO_REQUEST), draw)
        return rows, rows.arrival_s
    session, before = rows.session, _turn_before(rows.session)
    rows = rows if draw is None and not rows.timeless else _begun(path, rows, before, draw)
    earliest_s = _earliest_s(rows, before)
    first = np.flatnonzero(before == NO_REQUEST)
    untimed = first[np.isnan(earliest_s[first])]
    if len(untimed):
        raise InputError(f"{path}: request {untimed[0]} is the first of its conversation, and has no time of arrival")
    begins_s = np.empty(int(session.max()) + 1)
    begins_s[session[first]] = earliest_s[first]
    notes = (*rows.notes, *_shorter_turns(rows, before))
    return replace(rows, arrival_s=earliest_s, notes=notes), begins_s[session]


def _turn_before(session: Ints) -> Ints:
    """The row of the turn before each one, (rows,); NO_REQUEST of the first."""
    order = np.argsort(session, kind="stable")
    before = np.full(len(session), NO_REQUEST)
    inner = np.flatnonzero(np.diff(session[order]) == 0) + 1
    before[order[inner]] = order[inner - 1]
    return before


def _earliest_s(rows: Rows, before: Ints) -> Floats:
    """When each row would come if answers took no time."""
    if rows.delay_s is None:
        return rows.arrival_s
    earliest_s = rows.arrival_s.tolist()
    for i, (turn, delay_s) in enumerate(zip(before.tolist(), rows.delay_s.tolist(), strict=True)):
        if turn != NO_REQUEST and not math.isnan(delay_s):
            earliest_s[i] = earliest_s[turn] + delay_s
    return np.array(earliest_s)


def _shorter_turns(rows: Rows, before: Ints) -> tuple[str, ...]:
    """Say if most later turns have fewer tokens than what was said before them, which whole prompts would repeat."""
    later = np.flatnonzero(before != NO_REQUEST)
    known = rows.prompt_tokens[before[later]] + rows.output_tokens[before[later]]
    shorter = int((rows.prompt_tokens[later] < known).sum())
    if 2 * shorter <= len(later):
        return ()
    return (
        f"{shorter} of {len(later)} later turns are shorter than what was said before them; if rows hold what is new "
        'alone: workload.turns = "new"',
    )


def _begun(path: Path, rows: Rows, before: Ints, draw: Draw | None) -> Rows:
    """Draw the times of first turns, 0 without a draw; later ones come at once where a file without times has no delay.

    Raises InputError where later turns have times of their own.
    """
    first, later = np.flatnonzero(before == NO_REQUEST), before != NO_REQUEST
    delay_s = np.full(len(rows), np.nan) if rows.delay_s is None else rows.delay_s.copy()
    if rows.timeless:
        delay_s[later & np.isnan(delay_s)] = 0.0
    elif (later & np.isnan(delay_s)).any():
        raise InputError(f"{path}: turns of conversations have times of their own, which arrivals cannot replace")
    arrival_s = np.where(later, np.nan, 0.0)
    if draw is not None:
        arrival_s[first[np.argsort(rows.arrival_s[first], kind="stable")]] = draw(len(first))
    notes = (*rows.notes, "all at once" if draw is None else "times drawn")
    return replace(rows, arrival_s=arrival_s, delay_s=delay_s if later.any() else rows.delay_s, notes=notes)


def with_histories(path: Path, rows: Rows) -> Rows:
    """Put before each turn's new tokens those of all turns before it, which it repeats; 0 outputs say nothing.

    Raises InputError for a file without conversations, and for hash_ids, which are of whole prompts.
    """
    if rows.session is None:
        raise InputError(f'{path}: turns = "new" is of conversations, and no row names one (session_id)')
    if rows.prefixes is not None:
        raise InputError(f'{path}: hash_ids are of whole prompts, so that turns = "new" cannot hold; leave one out')
    ends = np.zeros(int(rows.session.max()) + 1, dtype=np.int64)
    said: list[list[tuple[int, int]]] = [[] for _ in ends]  # of each conversation: names and ends of its turns
    prompts, ids, stops, counts = [], [], [], []
    columns = (rows.session.tolist(), rows.prompt_tokens.tolist(), rows.output_tokens.tolist())
    for i, (session, new, output) in enumerate(zip(*columns, strict=True)):
        prompts.append(int(ends[session]) + new)
        ends[session] += new + output
        said[session].append((i, int(ends[session])))
        ids += [name for name, _ in said[session]]
        stops += [end for _, end in said[session]]
        counts.append(len(said[session]))
    start = np.concatenate([[0], np.cumsum(counts)])
    prefixes = Prefixes(np.array(ids, dtype=np.int64), np.array(stops, dtype=np.int64), start)
    note = "prompts are all that was said before in the conversation, and the row's"
    return replace(rows, prompt_tokens=np.array(prompts), prefixes=prefixes, notes=(*rows.notes, note))


def linked(rows: Rows, rate_scale: float) -> Sessions | None:
    """Return which of the rows, in order of their earliest time, come after which; None if all come by themselves."""
    if rows.session is None or rows.delay_s is None:
        return None
    after = np.full(len(rows), NO_REQUEST)
    think_s = np.zeros(len(rows))
    conversation = np.arange(len(rows)) + int(rows.session.max()) + 1
    last: dict[int, int] = {}
    for i, session in enumerate(rows.session.tolist()):
        before = last.get(session)
        if before is not None and not np.isnan(rows.delay_s[i]):
            after[i], think_s[i] = before, rows.delay_s[i] / rate_scale
            conversation[i] = conversation[before]
        last[session] = i
    if (after == NO_REQUEST).all():
        return None
    return Sessions(after, think_s, conversation)
