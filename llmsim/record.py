"""What a run writes: requests, steps, and token times as ranges over the step ends of the instances.

No token is ever an object. While a request decodes, each decode step of its instance emits one of its tokens, so its
token times are a *segment*: a range of that instance's step ends, led by the token that its prefill yielded (the head).
A request has one segment more for every preemption, hold or migration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from io import BytesIO
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.engine.stretch import Stretch, step_ends_s
from llmsim.request import Outcome, Request

ROWS_AT_ONCE = 4096
EXPANDED_AT_ONCE = 512  #: stretches
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
            prompt_tokens=np.zeros(n, np.int64) if prompt_tokens is None else np.asarray(prompt_tokens, np.int64),
            output_tokens=count if output_tokens is None else np.asarray(output_tokens, np.int64),
            request=has.astype(np.int64),
            head_s=np.full(len(has), np.nan),
            start=(ends - count)[has],
            count=count[has],
            times_s=flat,
        )


def expand(times_s: Floats, head_s: Floats, start: Ints, count: Ints) -> tuple[Floats, Ints]:
    """All token times of S segments of a `Timelines`, one after another, and where each segment begins, (S,)."""
    headed = ~np.isnan(head_s)
    tokens = count + headed
    begin = np.cumsum(tokens) - tokens
    source = np.repeat(start - headed - begin, tokens) + np.arange(int(tokens.sum()))
    # A head has no place in times_s: read anything there, then put the head itself.
    steps = times_s if len(times_s) else np.zeros(1)
    out = steps[np.clip(source, 0, len(steps) - 1)]
    out[begin[headed]] = head_s[headed]
    return out, begin


class InstanceState(IntEnum):
    """What an instance of a cluster that grows and shrinks is doing; paid for unless off."""

    OFF = 0
    STARTING = 1  #: loads the model
    READY = 2  #: gets requests
    DRAINING = 3  #: serves those that it has, and is off then


STEP_COLUMNS = {
    "instance": np.int64,
    "start_s": np.float64,
    "end_s": np.float64,
    "steps": np.int64,  #: engine steps that this row covers
    "prefill_tokens": np.int64,
    "decoding": np.int64,  #: sequences that emit one token in each of the steps
    "context_tokens": np.int64,  #: sum of the contexts that the first of the steps attends to
    "kv_blocks_used": np.int64,  #: when the row starts, after admission
    "waiting": np.int64,  #: when the row ends
    "running": np.int64,  #: while the row lasts
}
#: what is written of each stretch while the run goes on: where its times follow from, instead of them
STRETCH_COLUMNS = {name: kind for name, kind in STEP_COLUMNS.items() if name not in ("start_s", "end_s")} | {
    "taken": np.int64,
    "anchor_s": np.float64,
    "first_s": np.float64,
    "growth_s": np.float64,
}
SEGMENT_COLUMNS = {
    "request": np.int64,
    "instance": np.int64,
    "head_s": np.float64,
    "first_step": np.int64,
    "steps": np.int64,
}
TRANSFER_COLUMNS = {
    "request": np.int64,
    "source": np.int64,  #: instance that has computed the prompt
    "target": np.int64,  #: instance that was to decode
    "offered_s": np.float64,  #: end of the prefill
    "start_s": np.float64,  #: when the transfer began; NaN: it never did
    "end_s": np.float64,  #: when all of it was there, or would have been
    "joined_s": np.float64,  #: when decoding began there; NaN: it never did
    "tokens": np.int64,  #: whose keys and values the source had
    "bytes": np.int64,  #: sent; less than all tokens' where the target had some of them in its prefix cache
}
INSTANCE_STATE_COLUMNS = {
    "instance": np.int64,
    "state": np.int8,  #: `InstanceState`
    "start_s": np.float64,
    "end_s": np.float64,
}
ENDED_COLUMNS = {
    "first_scheduled_s": np.float64,
    "first_token_s": np.float64,
    "end_s": np.float64,
    "outcome": np.int8,
    "reason": np.int64,
    "emitted_tokens": np.int64,
    "preemptions": np.int64,
    "recomputed_tokens": np.int64,  #: computed again after a preemption
    "computed_tokens": np.int64,  #: computed at all, again included
    "cached_tokens": np.int64,  #: not computed: found in the prefix cache
    "prefill_gpu_s": np.float64,  #: its tokens' share of its prefill steps, seconds of each GPU
    "recomputed_gpu_s": np.float64,  #: the part of it that went into tokens computed again
    "left_s": np.float64,  #: when the user left; NaN: stayed
    "instance": np.int64,
}


@dataclass(frozen=True, eq=False)
class Record:
    """Everything that happened in one run, as columns. Times in seconds from the start of the run."""

    requests: dict[str, NDArray[Any]]  #: one row per request, in order of arrival
    segments: dict[str, NDArray[Any]]  #: see Timelines; `first_step`, `steps` count the instance's decode steps
    steps: dict[str, NDArray[Any]]  #: one row per step or stretch, `STEP_COLUMNS`
    step_ends_s: tuple[Floats, ...]  #: per instance, the end of each decode step
    reasons: tuple[str, ...]  #: what the numbers in requests["reason"] stand for
    end_s: float  #: when the last request ended, or the run was stopped
    #: one row per handover between instances, `TRANSFER_COLUMNS`; without rows in a cluster that is not disaggregated
    transfers: dict[str, NDArray[Any]] = field(default_factory=lambda: Rows(TRANSFER_COLUMNS).columns())
    #: one row per state of an instance, `INSTANCE_STATE_COLUMNS`, but off; without rows where all are always ready
    instance_states: dict[str, NDArray[Any]] = field(default_factory=lambda: Rows(INSTANCE_STATE_COLUMNS).columns())

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


class Rows:
    """A growing table. A row is packed and appended in one go, at a third of the cost of ten numbers in an array.

    ``rows.write(rows.pack(...))`` with a number for each column; `add` does both, for those who write rarely.
    """

    def __init__(self, columns: Mapping[str, type]) -> None:
        self._table = np.dtype(list(columns.items()))
        self._bytes = BytesIO()
        self.write: Callable[[bytes], object] = self._bytes.write
        codes = [self._table[name].char.replace("l", "q") for name in columns]
        self.pack: Callable[..., bytes] = Struct("=" + "".join(codes)).pack

    def add(self, *row: float) -> None:
        """Append a row: a number for each column."""
        self.write(self.pack(*row))

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the table by column, and forget it."""
        table = np.frombuffer(self._bytes.getvalue(), self._table)
        self._bytes.close()
        columns = {name: np.empty(len(table), self._table[name]) for name in self._table.names or ()}
        for few in range(0, len(table), ROWS_AT_ONCE):  # they stay in the cache while column by column is copied
            rows = table[few : few + ROWS_AT_ONCE]
            for name, column in columns.items():
                column[few : few + ROWS_AT_ONCE] = rows[name]
        return columns


class Recorder:
    """Collects a run, cheaply: plain numbers appended to tables."""

    def __init__(self, arrival_s: Floats, prompt_tokens: Ints, output_tokens: Ints, instances: int) -> None:
        self._given = {"arrival_s": arrival_s, "prompt_tokens": prompt_tokens, "output_tokens": output_tokens}
        self._ended = Rows({"id": np.int64, **ENDED_COLUMNS})
        self._segments = Rows(SEGMENT_COLUMNS)
        self._stretches = Rows(STRETCH_COLUMNS)
        self._instances = instances
        self._transfers = Rows(TRANSFER_COLUMNS)
        self._reasons: dict[str, int] = {"": 0}
        self.transfer = self._transfers.add  #: note a handover: a row of `TRANSFER_COLUMNS`

    def stretches(self, instance: int, taken: Iterable[tuple[Stretch, int, int, int]]) -> None:
        """Note steps and stretches of an instance; with each: KV blocks used, waiting, running."""
        write, pack = self._stretches.write, self._stretches.pack
        for stretch, blocks_used, waiting, running in taken:
            write(
                pack(
                    instance,
                    stretch.steps,
                    stretch.prefill_tokens,
                    stretch.decoding,
                    stretch.context_tokens,
                    blocks_used,
                    waiting,
                    running,
                    stretch.taken,
                    stretch.anchor_s,
                    stretch.first_s,
                    stretch.growth_s,
                )
            )

    def segments(self, instance: int, segments: Iterable[tuple[int, float, int, int]]) -> None:
        """Note ranges of token times: of which request, its head, the first step, and how many."""
        write, pack = self._segments.write, self._segments.pack
        for request, head_s, first_step, steps in segments:
            write(pack(request, instance, head_s, first_step, steps))

    def ended(self, request: Request, instance: int, end_s: float, reason: str) -> None:
        """Note how a request ended."""
        code = self._reasons.setdefault(reason, len(self._reasons)) if reason else 0
        most, computed, recomputed = request.most_computed_tokens, request.prefilled_tokens, request.recomputed_tokens
        rows = self._ended
        rows.write(
            rows.pack(
                request.id,
                request.first_scheduled_s,
                request.first_token_s,
                end_s,
                request.ended_as,
                code,
                request.emitted_before,
                request.preemptions,
                recomputed,
                recomputed + (computed if computed > most else most) - request.cached_tokens,
                request.cached_tokens,
                request.prefill_gpu_s,
                request.recomputed_gpu_s,
                request.left_s,
                instance,
            )
        )

    def finish(self, further: Mapping[str, NDArray[Any]]) -> Record:
        """Return the record: a row for every request that has ended, in order of arrival, then of id.

        `further` has more columns, by id. Ids that nobody noted the end of never came to be.
        """
        ended = self._ended.columns()
        id = ended.pop("id")
        order = np.lexsort((id, self._given["arrival_s"][id]))
        id = id[order]
        row = np.full(len(self._given["arrival_s"]), -1)
        row[id] = np.arange(len(id))
        segments = self._segments.columns()
        transfers = self._transfers.columns()
        for table in (segments, transfers):
            table["request"] = row[table["request"]]
        steps, ends_s = _steps(self._stretches.columns(), self._instances)
        known = {name: column[id] for name, column in {**self._given, **further}.items()}
        return Record(
            requests=known | {name: column[order] for name, column in ended.items()},
            segments=segments,
            steps=steps,
            step_ends_s=ends_s,
            reasons=tuple(self._reasons),
            end_s=float(ended["end_s"].max(initial=0.0)),
            transfers=transfers,
        )


def _steps(stretches: dict[str, NDArray[Any]], instances: int) -> tuple[dict[str, NDArray[Any]], tuple[Floats, ...]]:
    """Return the table of steps, by end and instance, and when each decode step of each instance ended."""
    anchor_s, first_s, growth_s = (stretches[name] for name in ("anchor_s", "first_s", "growth_s"))
    taken = stretches["taken"]
    start_s = step_ends_s(anchor_s, first_s, growth_s, taken)
    end_s = step_ends_s(anchor_s, first_s, growth_s, taken + stretches["steps"])
    by_instance = np.argsort(stretches["instance"], kind="stable")
    decode = by_instance[stretches["decoding"][by_instance] > 0]
    bounds = np.searchsorted(stretches["instance"][decode], np.arange(1, instances))
    ends_s = tuple(_ends_s(stretches, own) for own in np.split(decode, bounds))
    rows = by_instance[np.argsort(end_s[by_instance], kind="stable")]
    columns = stretches | {"start_s": start_s, "end_s": end_s}
    return {name: columns[name][rows] for name in STEP_COLUMNS}, ends_s


def _ends_s(stretches: dict[str, NDArray[Any]], rows: NDArray[np.intp]) -> Floats:
    """When each step of these stretches ended, one stretch after another. A few at a time: they stay in the cache."""
    steps = stretches["steps"][rows]
    last = np.cumsum(steps)
    ends_s = np.empty(int(last[-1]) if len(rows) else 0)
    for few in range(0, len(rows), EXPANDED_AT_ONCE):
        own, many, upto = (of[few : few + EXPANDED_AT_ONCE] for of in (rows, steps, last))
        first = int(upto[0] - many[0])
        k = np.arange(first + 1, int(upto[-1]) + 1) - np.repeat(upto - many - stretches["taken"][own], many)
        anchor_s, first_s, growth_s = (
            np.repeat(stretches[name][own], many) for name in ("anchor_s", "first_s", "growth_s")
        )
        ends_s[first : int(upto[-1])] = step_ends_s(anchor_s, first_s, growth_s, k)
    return ends_s
