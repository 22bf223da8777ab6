"""Which kind of measured result a file holds, by what is in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from llmsim.errors import InputError, nearest
from llmsim.interop.measured import Measured, read_text
from llmsim.interop.sglang_bench import read_sglang_bench
from llmsim.interop.timelines import read_timelines
from llmsim.interop.vllm_bench import read_vllm_bench

READERS: dict[str, Callable[[Path], Measured]] = {
    "timelines": read_timelines,
    "vllm": read_vllm_bench,
    "sglang": read_sglang_bench,
}
#: keys that only SGLang's benchmark writes
SGLANG_KEYS = frozenset({"server_info", "sharegpt_output_len", "mean_e2e_latency_ms", "random_input_len"})


def read_measured(path: Path | str, kind: str | None = None) -> Measured:
    """Read a file of measured results of this kind (a key of `READERS`), or of the one that it looks like.

    A JSON list holds timelines, one JSON object a run of vLLM's benchmark, JSON lines runs of SGLang's. InputError
    names the file and what is wrong in it.
    """
    file = Path(path)
    if kind is None:
        kind = _kind(file)
    if kind not in READERS:
        raise InputError(f"unknown kind of result '{kind}'{nearest(kind, READERS)}")
    return READERS[kind](file)


def _kind(file: Path) -> str:
    text = read_text(file)
    if text.lstrip().startswith("["):
        return "timelines"
    if not text.lstrip().startswith("{"):
        raise InputError(
            f"{file}: expected a JSON list of timelines, a detailed result of vLLM's or SGLang's benchmark, "
            "or a folder that llmsim run has written"
        )
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        lines = [line for line in text.splitlines() if line.strip()]
        return "sglang" if len(lines) > 1 and lines[1].lstrip().startswith("{") else "vllm"
    return "sglang" if SGLANG_KEYS & whole.keys() else "vllm"
