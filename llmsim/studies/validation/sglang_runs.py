"""Reads what SGLang's own scheduler decided on random workloads in virtual time (peers/sglang of the evidence).

One tick is 2^-20 s. All times are whole ticks, so that floats of seconds are exact and everything can be compared to
the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from llmsim.studies.validation.decision_runs import (
    TICK_S,
    DecisionRun,
    Fate,
    TickedSteps,
    prefixes_of,
    read_recorded,
    spelled_out,
)
from llmsim.workload.asked import Asked
from llmsim.workload.contract import Workload


class Step(NamedTuple):
    """One synchronous decision and its step; requests by number, times in ticks."""

    start: int
    end: int
    prefill: list[list[int]]  #: [request, tokens] in order of the batch
    decode: list[int]  #: in order of the running batch
    retracted: list[int]  #: in order
    admitted: list[list[int]]  #: [request, cached tokens]
    held_tokens: int  #: KV tokens of requests after scheduling
    cached_tokens: int  #: and cached ones that no request holds
    waiting: int
    running: int  #: the running batch; prompts of this step join it after
    chunked: int | None  #: the request of which chunks follow
    full: int  #: batch_is_full
    ratio: float | None  #: new_token_ratio; None: not told
    finished: list[int]  #: at its end, ascending


class Batch(NamedTuple):
    """One batch of the overlap schedule, times in ticks."""

    formed: int
    start: int
    end: int
    prefill_tokens: int
    decoding: int
    retracted: int


@dataclass(frozen=True, slots=True)
class SglangSettings:
    """Settings of an engine by SGLang's names; of its memory, tokens of the KV cache and of a page."""

    kv_tokens: int
    chunked_prefill_size: int
    max_prefill_tokens: int
    max_running_requests: int
    radix_cache: bool
    schedule_policy: Literal["fcfs", "lpm"]
    schedule_conservativeness: float
    page_size: int = 1


@dataclass(frozen=True, eq=False)
class SglangRun(DecisionRun[SglangSettings, Step]):
    """What SGLang made of a workload, without its overlap schedule and with it."""

    overlap_batches: list[Batch]
    overlap_outcome: list[Fate]


def read_run(path: Path) -> SglangRun:
    """Read one file. Raises InputError naming file and key of what is missing."""
    return read_recorded(
        path,
        lambda file: SglangRun(
            file["id"],
            SglangSettings(**file["settings"]),
            TickedSteps(**file["step_time_ticks"]),
            workload_of(file["id"], file["requests"]),
            spelled_out(file["steps"], Step),
            [Fate(*fate) for fate in file["outcome"]],
            [Batch(*batch) for batch in file["overlap_batches"]],
            [Fate(*fate) for fate in file["overlap_outcome"]],
        ),
    )


def workload_of(name: str, requests: Sequence[Sequence[Any]]) -> Workload:
    """Turn rows [arrival, prompt, output, max_new_tokens, ignore_eos, parts] into a workload; arrivals in ticks."""
    arrival, prompt, output, max_tokens, ignore_eos, parts = zip(*requests, strict=True)
    return Workload(
        np.array(arrival) * TICK_S,
        np.array(prompt),
        np.array(output),
        name,
        prefixes=prefixes_of(parts),
        asked=Asked(np.array(max_tokens), np.array(ignore_eos, dtype=np.bool_)),
    )
