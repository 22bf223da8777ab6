"""Reads recorded decisions of a real scheduler in virtual time: workloads, every step, and what became of each request.

One tick is 2^-20 s. All times are whole ticks, so that floats of seconds are exact and everything can be compared to
the bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from llmsim.errors import InputError
from llmsim.latency.contract import UNBOUNDED, Chunk, LatencyModel, Line
from llmsim.workload.classes import Classes
from llmsim.workload.contract import Workload
from llmsim.workload.prefixes import Prefixes

TICK_S = 2.0**-20


class Step(NamedTuple):
    """One decision; requests by number."""

    start: int  #: ticks
    end: int
    prefill: list[list[int]]  #: [request, tokens] in order of scheduling
    decode: list[int]  #: ascending
    preempted: list[int]  #: in order
    admitted: list[list[int]]  #: [request, tokens found in the prefix cache]
    blocks_used: int  #: after scheduling
    waiting: int
    running: int
    finished: list[int]  #: at its end, ascending


class Fate(NamedTuple):
    """What became of a request: ticks, how often it was preempted, tokens found cached at each admission."""

    first_scheduled: int
    first_token: int
    end: int
    preemptions: int
    found: list[int]


@dataclass(frozen=True)
class TickedSteps(LatencyModel):
    """Ticks of a step: a constant, and so many for each prefilled token, decoding sequence and token of its context."""

    step: int
    prefill_token: int
    sequence: int
    context_token: int

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: float) -> float:
        """Add them up: exact."""
        tokens = sum(tokens for _, tokens in prefill)
        ticks = self.step + self.prefill_token * tokens + self.sequence * decoding + self.context_token * context_tokens
        return ticks * TICK_S

    def decode_line(self, decoding: int, context_tokens: float) -> Line:
        """All on one line."""
        return self.step_time_s((), decoding, context_tokens), self.context_token * decoding * TICK_S, UNBOUNDED


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """Settings of an engine by vLLM's names; None: as vLLM has them by default."""

    num_blocks: int
    block_size: int
    prefix_caching: bool
    max_model_len: int
    policy: str
    max_num_seqs: int
    max_num_batched_tokens: int
    watermark: float
    long_prefill_token_threshold: int | None = None
    long_prefill_token_threshold_adaptive: bool | None = None


Made = TypeVar("Made")
AnyStep = TypeVar("AnyStep")
Settings = TypeVar("Settings")


@dataclass(frozen=True, eq=False)
class DecisionRun(Generic[Settings, AnyStep]):
    """A workload, and what an engine's own scheduler made of it step by step."""

    name: str
    settings: Settings
    latency: TickedSteps
    workload: Workload
    steps: list[AnyStep]
    outcome: list[Fate]

    @property
    def kind(self) -> str:
        """What sort of workload it is: the name without its number."""
        return self.name.rpartition("-")[0]


@dataclass(frozen=True, eq=False)
class VllmRun(DecisionRun[VllmSettings, Step]):
    """What vLLM made of a workload, synchronous and with two steps in flight."""

    async_outcome: list[Fate]


def read_run(path: Path) -> VllmRun:
    """Read one file. Raises InputError naming file and key of what is missing."""
    return read_recorded(
        path,
        lambda file: VllmRun(
            file["id"],
            VllmSettings(**file["settings"]),
            TickedSteps(**file["step_time_ticks"]),
            workload_of(file["id"], file["requests"]),
            spelled_out(file["steps"], Step),
            [Fate(*fate) for fate in file["outcome"]],
            [Fate(*fate) for fate in file["async_outcome"]],
        ),
    )


def read_recorded(path: Path, make: Callable[[dict[str, Any]], Made]) -> Made:
    """Make a run of what a file holds. Raises InputError naming file and key of what is missing."""
    try:
        return make(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except KeyError as error:
        raise InputError(f"{path}: no key {error}, expected one") from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: not a file of decisions ({error})") from None


def workload_of(name: str, requests: Sequence[Sequence[Any]]) -> Workload:
    """Turn rows [arrival, prompt, output, priority, parts] into a workload; arrivals in ticks, parts [name, end]."""
    arrival, prompt, output, priority, parts = zip(*requests, strict=True)
    values, of_request = np.unique(priority, return_inverse=True)
    return Workload(
        np.array(arrival) * TICK_S,
        np.array(prompt),
        np.array(output),
        name,
        prefixes=prefixes_of(parts),
        classes=Classes(of_request, tuple(map(str, values)), tuple(values.tolist())),
    )


def prefixes_of(parts: Sequence[Sequence[Sequence[int]]]) -> Prefixes:
    """What requests begin with: [name, end in tokens] of each part of each request."""
    ids = np.array([part for own in parts for part, _ in own], dtype=np.int64)
    ends = np.array([end for own in parts for _, end in own], dtype=np.int64)
    return Prefixes(ids, ends, np.cumsum([0, *map(len, parts)]))


def spelled_out(rows: Sequence[Sequence[Any]], kind: Callable[..., AnyStep]) -> list[AnyStep]:
    """Steps of a kind with `decode` and `finished`; which decode where a row only says: as in the step before."""
    steps: list[AnyStep] = []
    for row in rows:
        step = kind(*row)
        decode = steps[-1].decode if step.decode is None else step.decode  # type: ignore[attr-defined]
        steps.append(step._replace(decode=decode, finished=sorted(step.finished)))  # type: ignore[attr-defined]
    return steps
