"""How fast a trace is read: a CSV like Azure's of 2024, which it makes itself, whole and its first rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.csv

from llmsim.experiment.assembly import Progress
from llmsim.studies.bench.speed import in_own_process, peak_bytes
from llmsim.workload.traces import read_trace

ROWS, FIRST_ROWS = 3_000_000, 1_000
START = np.datetime64("2024-05-10T00:00:00", "us")
WEEK_US = 7 * 86_400 * 10**6
#: gives, for a run's name, what is told how far the run is
Watch = Callable[[str], AbstractContextManager[Progress]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reading cost, in a process of its own."""

    rows: int  #: asked for
    wall_s: float
    cpu_s: float
    peak_bytes: int  #: most memory of the process, Python and libraries included

    @property
    def rows_per_s(self) -> float:
        """Rows per second of wall-clock time."""
        return self.rows / self.wall_s


def write_azure(file: Path, rows: int) -> None:
    """Write a week of so many requests under Azure's names: random times in order, log-normal tokens; seed 0."""
    rng = np.random.default_rng(0)
    since_us = np.sort(rng.integers(0, WEEK_US, rows))
    times = np.char.replace(np.datetime_as_string(START + since_us), "T", " ")
    columns = {"ContextTokens": (6.8, 1.2), "GeneratedTokens": (4.6, 1.0)}
    tokens = {name: np.ceil(rng.lognormal(*shape, rows)).astype(np.int64) for name, shape in columns.items()}
    table = pa.table({"TIMESTAMP": np.char.add(times, "+00:00"), **tokens})
    with file.open("wb") as out:
        out.write(",".join(table.column_names).encode() + b"\n")  # Arrow would put quotes around each name
        pyarrow.csv.write_csv(table, out, pyarrow.csv.WriteOptions(include_header=False, quoting_style="none"))


def read(file: Path, rows: int, limit: int | None, *, progress: Progress) -> Reading:
    """Read a trace in this process, of `rows` rows or the first `limit` of them."""
    started_s, cpu_s = time.perf_counter(), time.process_time()
    progress(0, 1)
    found = len(read_trace(file, limit=limit))
    wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    assert found == (limit or rows), f"{found} rows of {limit or rows}"
    return Reading(found, wall_s, cpu_s, peak_bytes())


def reading(rows: int = ROWS, *, watch: Watch) -> dict[str, Reading]:
    """Write a trace of so many rows to a folder that is removed afterwards; read it whole, and its first rows."""
    first = min(FIRST_ROWS, rows)
    with TemporaryDirectory() as folder, watch("traces") as progress:
        file = Path(folder) / "azure.csv"
        in_own_process(_write, file, rows, progress=progress)
        return {
            "whole": in_own_process(read, file, rows, None, progress=progress),
            f"first {first:,}": in_own_process(read, file, rows, first, progress=progress),
        }


def _write(file: Path, rows: int, *, progress: Progress) -> None:
    progress(0, 1)
    write_azure(file, rows)
