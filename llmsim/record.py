"""What a run writes: requests, steps, and token times as ranges over the step ends of the instances.

No token is ever an object. While a request decodes, each decode step of its instance emits one of its tokens, so its
token times are a *segment*: a range of that instance's step ends, led by the token that its prefill yielded (the head).
A request has one segment more for every preemption, hold or migration.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.request import NEVER_S, Outcome, Request

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Timelines:
    """Token times of N requests, compact: S segments, each a head and a range of `times_s`.

    Segments are sorted by request, and by time within a request. The tokens of segment s are `head_s[s]` (if not NaN)
    followed by ``times_s[start[s] : start[s] + count[s]]``.
    """

    arrival_s: Floats  #: (N,)
    end_s: Floats  #: (N,) when the request left the system, whatever its outcome
    outcome: NDArray[np.int8]  #: (N,) `Outcome`
    prompt_tokens: Ints  #: (N,)
    output_tokens: Ints  #: (N,) tokens asked for; at least those delivered
    request: Ints  #: (S,) request of each segment
    head_s: Floats  #: (S,) time of the segment's first token where it stands alone; NaN where there is none
    start: Ints  #: (S,) first index into times_s
    count: Ints  #: (S,) tokens in the range
    times_s: Floats  #: (M,) ascending within every segment

    def __len__(self) -> int:
        return len(self.arrival_s)

    def token_times_s(self, request: int) -> Floats:
        """All token times of one request, ascending. For pictures and small checks: costs O(its tokens)."""
        lo, hi = np.searchsorted(self.request, [request, request + 1])
        parts: list[Floats] = []
        for s in range(lo, hi):
            if not np.isnan(self.head_s[s]):
                parts.append(self.head_s[s : s + 1])
            parts.append(self.times_s[self.start[s] : self.start[s] + self.count[s]])
        return np.concatenate(parts) if parts else np.empty(0)

    @classmethod
    def from_token_times(
        cls,
        arrival_s: Sequence[float] | Floats,
        token_times_s: Sequence[Sequence[float] | Floats],
        *,
        end_s: Sequence[float] | Floats | None = None,
        outcome: Sequence[int] | None = None,
        prompt_tokens: Sequence[int] | None = None,
        output_tokens: Sequence[int] | None = None,
    ) -> Timelines:
        """Build from explicit lists, as measured results have them.

        Left out: a request ends with its last token (or at its arrival, without any), is finished if it has a token and
        unfinished if not, has a prompt of 0 tokens, and asked for as many tokens as it got.
        """
        n = len(arrival_s)
        count = np.array([len(t) for t in token_times_s], dtype=np.int64)
        flat = np.concatenate([np.empty(0), *(np.asarray(t, dtype=np.float64) for t in token_times_s)])
        ends = np.cumsum(count)
        arrival = np.asarray(arrival_s, dtype=np.float64)
        if end_s is None:
            end_s = np.where(count > 0, flat[np.maximum(ends - 1, 0)] if len(flat) else 0.0, arrival)
        if outcome is None:
            outcome = [Outcome.FINISHED if k else Outcome.UNFINISHED for k in count]
        has = np.flatnonzero(count)
        return cls(
            arrival_s=arrival,
            end_s=np.asarray(end_s, dtype=np.float64),
            outcome=np.asarray(outcome, dtype=np.int8),
            prompt_tokens=np.zeros(n, np.int64)
            if prompt_tokens is None
            else np.asarray(prompt_tokens, np.int64),
            output_tokens=count if output_tokens is None else np.asarray(output_tokens, np.int64),
            request=has.astype(np.int64),
            head_s=np.full(len(has), np.nan),
            start=(ends - count)[has],
            count=count[has],
            times_s=flat,
        )


STEP_COLUMNS = {
    "instance": "q",
    "start_s": "d",
    "end_s": "d",
    "steps": "q",  #: engine steps that this row covers
    "prefill_tokens": "q",
    "decoding": "q",  #: sequences that emit one token in each of the steps
    "context_tokens": "q",  #: sum of the contexts that the first of the steps attends to
    "kv_blocks_used": "q",  #: when the row starts, after admission
    "waiting": "q",  #: when the row ends
    "running": "q",  #: while the row lasts
}
SEGMENT_COLUMNS = {"request": "q", "instance": "q", "head_s": "d", "first_step": "q", "steps": "q"}


@dataclass(frozen=True, eq=False)
class Record:
    """Everything that happened in one run, as columns. Times in seconds from the start of the run."""

    requests: dict[str, NDArray[Any]]  #: one row per request, in order of id
    segments: dict[
        str, NDArray[Any]
    ]  #: see Timelines; `first_step`, `steps` count the instance's decode steps
    steps: dict[str, NDArray[Any]]  #: one row per step or stretch, `STEP_COLUMNS`
    step_ends_s: tuple[Floats, ...]  #: per instance, the end of each decode step
    reasons: tuple[str, ...]  #: what the numbers in requests["reason"] stand for
    end_s: float  #: when the last request ended, or the run was stopped

    def timelines(self) -> Timelines:
        """Token times as they left the GPU."""
        offsets = np.cumsum([0, *(len(ends) for ends in self.step_ends_s)])
        order = np.argsort(self.segments["request"], kind="stable")
        segment = {name: column[order] for name, column in self.segments.items()}
        requests = self.requests
        return Timelines(
            arrival_s=requests["arrival_s"],
            end_s=requests["end_s"],
            outcome=requests["outcome"],
            prompt_tokens=requests["prompt_tokens"],
            output_tokens=requests["output_tokens"],
            request=segment["request"],
            head_s=segment["head_s"],
            start=segment["first_step"] + offsets[segment["instance"]],
            count=segment["steps"],
            times_s=np.concatenate([np.empty(0), *self.step_ends_s]),
        )


class Recorder:
    """Collects a run, cheaply: plain numbers appended to columns."""

    def __init__(self, arrival_s: Floats, prompt_tokens: Ints, output_tokens: Ints, instances: int) -> None:
        n = len(arrival_s)
        self._given = {"arrival_s": arrival_s, "prompt_tokens": prompt_tokens, "output_tokens": output_tokens}
        self._first_scheduled_s = array("d", [NEVER_S]) * n
        self._first_token_s = array("d", [NEVER_S]) * n
        self._end_s = array("d", [NEVER_S]) * n
        self._outcome = array("b", [Outcome.UNFINISHED]) * n
        self._reason = array("i", [0]) * n
        self._emitted_tokens = array("q", [0]) * n
        self._preemptions = array("q", [0]) * n
        self._recomputed_tokens = array("q", [0]) * n
        self._instance = array("q", [-1]) * n
        self._segments = [array(code) for code in SEGMENT_COLUMNS.values()]
        self._steps = [array(code) for code in STEP_COLUMNS.values()]
        self._step_ends_s = [array("d") for _ in range(instances)]
        self._reasons: dict[str, int] = {"": 0}

    def segment(self, *row: float) -> None:
        """Note a range of token times: `SEGMENT_COLUMNS`."""
        for column, value in zip(self._segments, row, strict=True):
            column.append(value)

    def stretch(self, *row: float) -> None:
        """Note a step or stretch: `STEP_COLUMNS`."""
        for column, value in zip(self._steps, row, strict=True):
            column.append(value)

    def decode_steps(self, instance: int, ends_s: Sequence[float], steps: int) -> None:
        """Note when the next `steps` decode steps of an instance ended."""
        if steps == 1:
            self._step_ends_s[instance].append(ends_s[0])
        else:
            self._step_ends_s[instance].extend(ends_s[:steps])

    def ended(self, request: Request, instance: int, outcome: Outcome, end_s: float, reason: str) -> None:
        """Note how a request ended."""
        id = request.id
        self._first_scheduled_s[id] = request.first_scheduled_s
        self._first_token_s[id] = request.first_token_s
        self._end_s[id] = end_s
        self._outcome[id] = outcome
        self._reason[id] = self._reasons.setdefault(reason, len(self._reasons))
        self._emitted_tokens[id] = request.emitted_tokens
        self._preemptions[id] = request.preemptions
        self._recomputed_tokens[id] = request.recomputed_tokens
        self._instance[id] = instance

    def finish(self, end_s: float) -> Record:
        """Return the columns."""
        own = (
            "first_scheduled_s",
            "first_token_s",
            "end_s",
            "outcome",
            "reason",
            "emitted_tokens",
            "preemptions",
            "recomputed_tokens",
            "instance",
        )
        return Record(
            requests=self._given | {name: np.asarray(getattr(self, f"_{name}")) for name in own},
            segments=dict(zip(SEGMENT_COLUMNS, map(np.asarray, self._segments), strict=True)),
            steps=dict(zip(STEP_COLUMNS, map(np.asarray, self._steps), strict=True)),
            step_ends_s=tuple(map(np.asarray, self._step_ends_s)),
            reasons=tuple(self._reasons),
            end_s=end_s,
        )
