"""Read a recorded trace as a workload; a file in trace_formats/ for each format."""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.workload.arguments import not_negative, positive, whole
from llmsim.workload.contract import Workload
from llmsim.workload.trace_layout import TraceOptions
from llmsim.workload.trace_rows import Need, Rows, read_rows
from llmsim.workload.trace_sessions import linked, timed


def read_trace(
    path: str | PathLike[str],
    *,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    time_unit: str | None = None,
    hash_block_tokens: int | None = None,
    rate_scale: float = 1.0,
    start_s: float = 0.0,
    duration_s: float | None = None,
    limit: int | None = None,
) -> Workload:
    """Read a trace, plain or gzipped, and return the requests of a window of it in order of arrival.

    `columns` names the file's columns (`arrival`, `prompt_tokens`, `output_tokens`, `hash_ids`, `session_id`,
    `delay`), `time_unit` their unit ("s", "ms", "us", "ns" or "date"), `hash_block_tokens` the tokens of a block of
    `hash_ids`; left out, they are the format's. `start_s` and `duration_s` choose start_s <= arrival < start_s +
    duration_s on the trace's own clock (dates and times since 1970: seconds from the earliest one), `limit` the first
    so many of these. Of conversations, those that begin in the window are chosen, whole. Time 0 of the workload is
    start_s; then all times are divided by `rate_scale`: 2.0 means twice the rate. Requests that arrive
    together keep the file's order. Rows with 0 output tokens (logs write failed requests so) are left out,
    and `source` says how many. With a limit or an end, a file whose rows are in order of arrival is read so far as
    is needed, and no further. Raises InputError with file, line and field for anything wrong with what is read.
    """
    positive("rate_scale", rate_scale)
    not_negative("start_s", start_s)
    end_s = math.inf if duration_s is None else start_s + positive("duration_s", duration_s)
    most = None if limit is None else whole("limit", limit)
    path = Path(path)
    options = TraceOptions(format, columns or {}, time_unit, hash_block_tokens)
    rows, begins_s = timed(path, read_rows(path, options, Need(end_s, start_s, most)))
    chosen = _window(path, rows, begins_s, start_s, end_s)
    served = chosen.take(chosen.output_tokens > 0)
    if len(served) == 0:
        raise InputError(f"{path}: none of the {len(chosen)} requests has any output tokens")
    kept = served.take(np.arange(len(served))[:most])
    sessions = linked(kept, rate_scale)
    turns = 0 if sessions is None else int((sessions.after >= 0).sum())
    notes = {
        f"trace {path.name} ({rows.format})": True,
        **dict.fromkeys(rows.notes, True),
        f"{len(chosen) - len(served)} without output left out": len(served) < len(chosen),
        f"{turns} turns so long after the end of the one before, each with its row's prompt": turns > 0,
        f"window [{start_s:g} s, {end_s:g} s)": start_s > 0 or duration_s is not None,
        f"first {most}": most is not None,
        f"rate x {rate_scale:g}": rate_scale != 1,
    }
    return Workload(
        arrival_s=(kept.arrival_s - start_s) / rate_scale,
        prompt_tokens=kept.prompt_tokens,
        output_tokens=kept.output_tokens,
        source=", ".join(note for note, applies in notes.items() if applies),
        prefixes=kept.prefixes,
        sessions=sessions,
        user=kept.session,
    )


def _window(path: Path, rows: Rows, begins_s: NDArray[np.float64], start_s: float, end_s: float) -> Rows:
    order = np.argsort(rows.arrival_s, kind="stable")
    inside = (begins_s[order] >= start_s) & (begins_s[order] < end_s)
    if not inside.any():
        times_s = rows.arrival_s[order]
        raise InputError(
            f"{path}: no request in [{start_s:g} s, {end_s:g} s); its {len(rows)} requests arrive from "
            f"{times_s[0]:g} s to {times_s[-1]:g} s"
        )
    return rows.take(order[inside])
