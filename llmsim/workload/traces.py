"""Read a recorded trace as a workload; a file in trace_formats/ for each format."""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.workload.arguments import not_negative, positive, whole
from llmsim.workload.contract import Workload
from llmsim.workload.quality import Quality
from llmsim.workload.superposed import superposed
from llmsim.workload.trace_layout import TraceOptions
from llmsim.workload.trace_rows import Need, Rows, read_rows
from llmsim.workload.trace_sessions import Draw, linked, timed, with_histories


@dataclass(frozen=True, slots=True)
class TraceWindow:
    """Which requests of a trace are taken, and how fast they come."""

    rate_scale: float = 1.0  #: 2.0 means twice the rate
    start_s: float = 0.0  #: on the trace's own clock
    duration_s: float | None = None  #: from there on
    limit: int | None = None  #: the first so many of these

    def __post_init__(self) -> None:
        positive("rate_scale", self.rate_scale)
        not_negative("start_s", self.start_s)
        if self.duration_s is not None:
            positive("duration_s", self.duration_s)
        if self.limit is not None:
            whole("limit", self.limit)

    @property
    def end_s(self) -> float:
        """On the trace's own clock."""
        return math.inf if self.duration_s is None else self.start_s + self.duration_s

    @property
    def notes(self) -> tuple[str, ...]:
        """What it leaves out or changes, in words."""
        said = {
            f"window [{self.start_s:g} s, {self.end_s:g} s)": self.start_s > 0 or self.duration_s is not None,
            f"first {self.limit}": self.limit is not None,
            f"rate x {self.rate_scale:g}": self.rate_scale != 1,
        }
        return tuple(note for note, applies in said.items() if applies)


def read_trace(
    path: str | PathLike[str],
    *,
    arrivals: Draw | None = None,
    timeless: bool = True,
    superpose: float = 1.0,
    rng: np.random.Generator | None = None,
    rate_scale: float = 1.0,
    start_s: float = 0.0,
    duration_s: float | None = None,
    limit: int | None = None,
    **options: Any,
) -> Workload:
    """Read a trace, plain or gzipped, and return the requests of a window of it in order of arrival.

    `options` are the fields of `TraceOptions`: `format`, `columns`, `time_unit`, `hash_block_tokens`, `turns`,
    `tokens_per_character`, `tokenizer`, `quality`. `start_s` and `duration_s` choose start_s <= arrival < start_s +
    duration_s on the trace's own clock (dates and times since 1970: seconds from the earliest one), `limit` the first
    so many of these. Of conversations, those that begin in the window are chosen, whole. Time 0 of the workload is
    start_s; then all times are divided by `rate_scale`: 2.0 means twice the rate. `superpose` is how many times as many
    requests come in the same time, drawn with `rng` (see `superposed`). Requests that arrive together keep the file's
    order. Rows with 0 output tokens (logs write failed requests so) are left out, and `source` says how many. With a
    limit or an end, a file whose rows are in order of arrival is read so far as is needed, and no further. `arrivals`
    draws when requests and conversations begin, in place of the file's times; without it, a file that has none has all
    at 0, or is refused if not `timeless`. Raises InputError with file, line and field for anything wrong with what is
    read.
    """
    path, how = Path(path), TraceOptions(**options)
    window = TraceWindow(rate_scale, start_s, duration_s, limit)
    rows = read_rows(path, how, Need(window.end_s, start_s, limit))
    if (rows.timeless or arrivals is not None) and (start_s > 0 or duration_s is not None):
        raise InputError(f"{path}: start_s and duration_s choose by the file's times; here limit alone can choose")
    if rows.timeless and arrivals is None and not timeless:
        raise InputError(
            f"{path}: {rows.notes[-1]}; say when its requests come, such as "
            'workload.arrivals = { process = "poisson", rate_per_s = 4 }, or name the column with workload.columns'
        )
    if (rows.timeless or arrivals is not None) and superpose != 1:
        raise InputError(f"{path}: superpose is of the file's times; where they are drawn, draw more of them")
    rows = with_histories(path, rows) if how.turns == "new" else rows
    rows, begins_s = timed(path, rows, arrivals)
    chosen = _window(path, rows, begins_s, window.start_s, window.end_s)
    return _workload(path, chosen, window, superpose, rng or np.random.default_rng(0))


def _workload(path: Path, chosen: Rows, window: TraceWindow, superpose: float, rng: np.random.Generator) -> Workload:
    served = chosen.take(chosen.output_tokens > 0)
    if len(served) == 0:
        raise InputError(f"{path}: none of the {len(chosen)} requests has any output tokens")
    kept = superposed(served.take(np.arange(len(served))[: window.limit]), superpose, rng)
    sessions = linked(kept, window.rate_scale)
    turns = 0 if sessions is None else int((sessions.after >= 0).sum())
    notes = {
        f"trace {path.name} ({chosen.format})": True,
        **dict.fromkeys(chosen.notes, True),
        f"{len(chosen) - len(served)} without output left out": len(served) < len(chosen),
        f"{turns} turns so long after the end of the one before": turns > 0,
        **dict.fromkeys(window.notes, True),
        f"requests x {superpose:g} in the same time": superpose != 1,
    }
    return Workload(
        arrival_s=(kept.arrival_s - window.start_s) / window.rate_scale,
        prompt_tokens=kept.prompt_tokens,
        output_tokens=kept.output_tokens,
        source=", ".join(note for note, applies in notes.items() if applies),
        prefixes=kept.prefixes,
        sessions=sessions,
        user=kept.session,
        quality=None if kept.quality is None else Quality.of(kept.quality, kept.quality, kept.models, {}),
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
