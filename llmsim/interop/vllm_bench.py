"""Results of vLLM's `bench serve --save-detailed` (one JSON object; schema as of vLLM 0.33)."""

from __future__ import annotations

from pathlib import Path

from llmsim.errors import InputError
from llmsim.interop.measured import Measured, client_timelines, client_window, read_json


def read_vllm_bench(path: Path | str) -> Measured:
    """Read a detailed result. InputError names file, request and field of the first thing that is wrong.

    Times are the client's: from the send to each streamed chunk, one token a chunk; a file with fewer gaps
    than its output lengths say (several tokens a chunk, or cut short) is refused rather than guessed at.
    """
    file = Path(path)
    bench = read_json(file)
    if not isinstance(bench, dict):
        raise InputError(f"{file}: expected one JSON object, as vLLM writes it, got {type(bench).__name__}")
    timelines, dated = client_timelines(file, bench)
    if len(timelines) == 0:
        raise InputError(f"{file}: holds no requests")
    window = client_window(file, timelines, dated, bench.get("duration"))
    return Measured(timelines, window, "vLLM bench serve" + ("" if dated else ", all sent at 0 s (no start_times)"))
