"""Write a workload as a trace: plain CSV, Mooncake's JSON lines, or what AIPerf and GuideLLM replay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from llmsim.errors import InputError, nearest
from llmsim.workload.contract import Workload
from llmsim.workload.prefixes import Prefixes
from llmsim.workload.sessions import NO_REQUEST
from llmsim.workload.trace_layout import DEFAULT_HASHED_TOKENS

#: what can be written
WRITTEN = ("aiperf", "csv", "guidellm", "mooncake")


def trace_lines(workload: Workload, form: str) -> tuple[Iterator[str], list[str]]:
    """Return the lines of a trace, without ends, and what its reader must know of them or cannot find in them.

    `form` is "csv" (seconds), "mooncake" (whole milliseconds), "aiperf" (milliseconds, with turns) or "guidellm"
    (seconds). Raises InputError for another one, and for turns that wait for others where the form has no place.
    """
    if form not in WRITTEN:
        raise InputError(f"unknown trace to write '{form}'{nearest(form, WRITTEN)}")
    if workload.sessions is not None and form != "aiperf":
        raise InputError(
            f"{workload.source}: turns wait for the end of others, which '{form}' cannot say; use 'aiperf'"
        )
    said = []
    if form == "csv":
        if workload.prefixes is not None:
            said.append("csv has no hash_ids: which prompts begin alike is left out")
        return _csv(workload), said
    size = None if workload.prefixes is None else _block_tokens(workload.prefixes, workload)
    if size is not None:
        said.append(f"hash_ids are blocks of {size} tokens (hash_block_tokens)")
    if form == "guidellm":
        said.append("timestamps are seconds (time_unit)")
    return _rows(workload, form, hashed=size is not None), said


def _csv(workload: Workload) -> Iterator[str]:
    yield "arrival_s,prompt_tokens,output_tokens"
    columns = (workload.arrival_s.tolist(), workload.prompt_tokens.tolist(), workload.output_tokens.tolist())
    for arrival_s, prompt, output in zip(*columns, strict=True):
        yield f"{arrival_s!r},{prompt},{output}"


def _rows(workload: Workload, form: str, *, hashed: bool) -> Iterator[str]:
    columns = (workload.arrival_s.tolist(), workload.prompt_tokens.tolist(), workload.output_tokens.tolist())
    for request, (arrival_s, prompt, output) in enumerate(zip(*columns, strict=True)):
        row: dict[str, Any] = _when(workload, request, arrival_s, form)
        row |= {"input_length": prompt, "output_length": output}
        if hashed and workload.prefixes is not None:
            row["hash_ids"] = workload.prefixes.of(request)[0].tolist()
        yield json.dumps(row)


def _when(workload: Workload, request: int, arrival_s: float, form: str) -> dict[str, Any]:
    if form == "guidellm":
        return {"timestamp": arrival_s}
    if form == "mooncake":
        return {"timestamp": round(arrival_s * 1e3)}
    if workload.sessions is None:
        return {"timestamp": _plain(arrival_s * 1e3)}
    session = {"session_id": str(workload.sessions.conversation[request])}
    if workload.sessions.after[request] == NO_REQUEST:
        return session | {"timestamp": _plain(arrival_s * 1e3)}
    return session | {"delay": _plain(float(workload.sessions.think_s[request]) * 1e3)}


def _plain(milliseconds: float) -> float | int:
    """To the nanosecond; whole ones without a point."""
    rounded = round(milliseconds, 6)
    return int(rounded) if rounded == int(rounded) else rounded


def _block_tokens(prefixes: Prefixes, workload: Workload) -> int:
    """Return the tokens of a block; InputError if parts are not all of one size, but for the last of a prompt."""
    counts = np.diff(prefixes.start)
    several = prefixes.start[:-1][counts > 1]
    size = int(prefixes.ends[several[0]]) if len(several) else DEFAULT_HASHED_TOKENS
    place = np.arange(len(prefixes.ids)) - np.repeat(prefixes.start[:-1], counts) + 1
    whole = np.minimum(place * size, np.repeat(workload.prompt_tokens, counts))
    if (prefixes.ends != whole).any():
        raise InputError(f"{workload.source}: its prefixes are not blocks of one size, which hash_ids would be")
    return size
