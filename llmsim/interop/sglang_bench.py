"""Results of SGLang's `bench_serving --output-details` (JSON lines, a run each; schema as of 0.5.23)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmsim.errors import InputError
from llmsim.interop.measured import Measured, client_timelines, client_window, parse_json, read_text


def read_sglang_bench(path: Path | str, *, run: int | None = None) -> Measured:
    """Read one run; `run` (from 1) is needed where the file holds several.

    SGLang saves no send times: all requests are taken as sent at 0 s, and rates are divided by the saved
    duration. InputError names file, line or request, and field of the first thing that is wrong.
    """
    file = Path(path)
    runs = _runs(file)
    if run is None and len(runs) > 1:
        raise InputError(f"{file}: holds {len(runs)} runs; say which, 1 to {len(runs)}")
    if not 1 <= (run or 1) <= len(runs):
        raise InputError(f"{file}: run {run}: expected 1 to {len(runs)}")
    bench = runs[(run or 1) - 1]
    timelines, dated = client_timelines(file, bench)
    if len(timelines) == 0:
        raise InputError(f"{file}: holds no requests")
    window = client_window(file, timelines, dated, bench.get("duration"))
    return Measured(timelines, window, "SGLang bench_serving" + ("" if dated else ", all sent at 0 s"))


def _runs(file: Path) -> list[dict[str, Any]]:
    out = []
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        run = parse_json(line, f"{file}: run on line {number}")
        if not isinstance(run, dict):
            raise InputError(f"{file}: line {number}: expected one JSON object a line, got {type(run).__name__}")
        out.append(run)
    if not out:
        raise InputError(f"{file}: holds no runs")
    return out
