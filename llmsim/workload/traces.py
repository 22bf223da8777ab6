"""Read a recorded trace as a workload; a file in trace_formats/ for each format."""

from __future__ import annotations

import math
from os import PathLike
from pathlib import Path

import numpy as np

from llmsim.errors import InputError
from llmsim.workload.arguments import not_negative, positive, whole
from llmsim.workload.contract import Workload
from llmsim.workload.trace_rows import Rows, read_rows


def read_trace(
    path: str | PathLike[str],
    *,
    format: str = "auto",
    rate_scale: float = 1.0,
    start_s: float = 0.0,
    duration_s: float | None = None,
    limit: int | None = None,
) -> Workload:
    """Read a trace, plain or gzipped, and return the requests of a window of it in order of arrival.

    `start_s` and `duration_s` choose start_s <= arrival < start_s + duration_s on the trace's own clock
    (dates: seconds from the earliest one), `limit` the first so many of these. Time 0 of the workload is
    start_s; then all times are divided by `rate_scale`: 2.0 means twice the rate. Requests that arrive
    together keep the file's order. Rows with 0 output tokens (logs write failed requests so) are left out,
    and `source` says how many. Raises InputError with file, line and field for anything wrong with the
    file.
    """
    positive("rate_scale", rate_scale)
    not_negative("start_s", start_s)
    end_s = math.inf if duration_s is None else start_s + positive("duration_s", duration_s)
    most = None if limit is None else whole("limit", limit)
    path = Path(path)
    rows = read_rows(path, format)
    chosen = _window(path, rows, start_s, end_s)
    served = chosen.take(chosen.output_tokens > 0)
    if len(served) == 0:
        raise InputError(f"{path}: none of the {len(chosen)} requests has any output tokens")
    notes = {
        f"trace {path.name} ({rows.format.name})": True,
        f"{len(chosen) - len(served)} without output left out": len(served) < len(chosen),
        f"window [{start_s:g} s, {end_s:g} s)": start_s > 0 or duration_s is not None,
        f"first {most}": most is not None,
        f"rate x {rate_scale:g}": rate_scale != 1,
    }
    kept = served.take(np.arange(len(served))[:most])
    return Workload(
        arrival_s=(kept.arrival_s - start_s) / rate_scale,
        prompt_tokens=kept.prompt_tokens,
        output_tokens=kept.output_tokens,
        source=", ".join(note for note, applies in notes.items() if applies),
        prefixes=kept.prefixes,
    )


def _window(path: Path, rows: Rows, start_s: float, end_s: float) -> Rows:
    ordered = rows.take(np.argsort(rows.arrival_s, kind="stable"))
    first, last = np.searchsorted(ordered.arrival_s, [start_s, end_s])
    if first == last:
        raise InputError(
            f"{path}: no request in [{start_s:g} s, {end_s:g} s); its {len(rows)} requests arrive from "
            f"{ordered.arrival_s[0]:g} s to {ordered.arrival_s[-1]:g} s"
        )
    return ordered.take(np.arange(first, last))
