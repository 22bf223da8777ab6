"""What a run leaves behind: requests, steps, and token times as ranges over the step ends of the instances.

No token is ever an object. While a request decodes, each decode step of its instance emits one of its tokens, so its
token times are a *segment*: a range of that instance's step ends, led by the token that its prefill yielded (the head).
A request has one segment more for every preemption, hold or migration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.acceptance import PER_TOKEN
from llmsim.request import Outcome
from llmsim.step_ends import Times, joined

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Paces:
    """How many tokens the steps of S segments yield, where requests speculate (`acceptance.Pace`)."""

    gain: Ints  #: (S,) hundredths of a token a step
    phase: Ints  #: (S,) hundredths of a token before the first one

    def take(self, which: Ints | NDArray[np.bool_] | slice) -> Paces:
        """Return those of some of the segments."""
        return Paces(self.gain[which], self.phase[which])

    def tokens(self, steps: Ints) -> Ints:
        """Tokens that so many steps of each segment yield, (S,)."""
        return (steps * self.gain + self.phase) // PER_TOKEN

    def steps(self, tokens: Ints) -> Ints:
        """Steps that it takes to yield so many tokens of each segment, (S,)."""
        return -((self.phase - PER_TOKEN * tokens) // self.gain)


@dataclass(frozen=True, eq=False)
class DrawnPaces:
    """The same where what each step yields was drawn."""

    through: Ints  #: tokens of all segments so far: before each, and after each of its steps
    first: Ints  #: (S,) place of the number before each segment

    @classmethod
    def of(cls, steps: Ints, yields: Ints, order: Ints) -> DrawnPaces:
        """From the steps of segments and what each step has yielded, one after another; the segments in this order."""
        first = np.cumsum(steps) - steps + np.arange(len(steps))
        tokens = np.zeros(len(yields) + len(steps), np.int64)
        of_steps = np.ones(len(tokens), np.bool_)
        of_steps[first] = False
        tokens[of_steps] = yields
        return cls(np.cumsum(tokens), first[order])

    def take(self, which: Ints | NDArray[np.bool_] | slice) -> DrawnPaces:
        """Return those of some of the segments."""
        return DrawnPaces(self.through, self.first[which])

    def tokens(self, steps: Ints) -> Ints:
        """Tokens that so many steps of each segment yield, (S,)."""
        found: Ints = self.through[self.first + steps] - self.through[self.first]
        return found

    def steps(self, tokens: Ints) -> Ints:
        """Steps that it takes to yield so many tokens of each segment, (S,)."""
        places: Ints = np.searchsorted(self.through, self.through[self.first] + tokens) - self.first
        return np.maximum(places, 0)  # those of no token may be before the segment


@dataclass(frozen=True, eq=False)
class Timelines:
    """Token times of N requests, compact: S segments, each a head and a range of `times_s`.

    Segments are sorted by request, and by time within a request. The tokens of segment s are `head_s[s]` (if not NaN)
    followed by ``times_s[start[s] : start[s] + count[s]]``; where requests speculate, a step yields several of them,
    which share an entry (`paces`).
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
    times_s: Times  #: (M,) ascending within every segment
    paces: Paces | DrawnPaces | None = None  #: None: each entry of times_s is one token of a segment
    #: whether entries of one time are tokens that came in one chunk of a stream, with no gap between them
    together: bool = False

    @property
    def steps(self) -> Ints:
        """Entries of times_s in each range, (S,): as many as it has tokens, unless requests speculate."""
        return self.count if self.paces is None else self.paces.steps(self.count)

    def __len__(self) -> int:
        return len(self.arrival_s)

    def token_times_s(self, request: int) -> Floats:
        """All token times of one request, ascending. For pictures and small checks: costs O(its tokens)."""
        part = slice(*np.searchsorted(self.request, [request, request + 1]))
        return self.tokens_s(part)

    def tokens_s(self, part: slice) -> Floats:
        """All token times of some segments, one after another."""
        paces = None if self.paces is None else self.paces.take(part)
        return expand(self.times_s, self.head_s[part], self.start[part], self.count[part], paces)[0]

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


def expand(
    times_s: Times, head_s: Floats, start: Ints, count: Ints, paces: Paces | DrawnPaces | None = None
) -> tuple[Floats, Ints]:
    """All token times of S segments of a `Timelines`, one after another, and where each segment begins, (S,)."""
    headed = ~np.isnan(head_s)
    tokens = count + headed
    begin = np.cumsum(tokens) - tokens
    if paces is None:
        source = np.repeat(start - headed - begin, tokens) + np.arange(int(tokens.sum()))
    else:
        number = np.arange(int(tokens.sum())) - np.repeat(begin + headed - 1, tokens)  # in the range, from 1; a head: 0
        source = np.repeat(start - 1, tokens) + paces.take(np.repeat(np.arange(len(count)), tokens)).steps(number)
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
SEGMENT_COLUMNS = {
    "request": np.int64,
    "instance": np.int64,
    "head_s": np.float64,
    "first_step": np.int64,
    "steps": np.int64,
}
#: further columns of segments and steps, where requests speculate
SPECULATIVE_SEGMENT_COLUMNS = {
    "tokens": np.int64,  #: that the steps have yielded
    "gain": np.int64,  #: acceptance length, hundredths of a token
    "phase": np.int64,  #: what the request had of a token before the first step, hundredths
}
SPECULATIVE_STEP_COLUMNS = {
    "drafted_tokens": np.int64,  #: that the decoding sequences together draft in each of the steps
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


def no_rows(columns: Mapping[str, type]) -> dict[str, NDArray[Any]]:
    """Return a table without rows."""
    return {name: np.empty(0, kind) for name, kind in columns.items()}


@dataclass(frozen=True, eq=False)
class Record:
    """Everything that happened in one run, as columns. Times in seconds from the start of the run."""

    requests: dict[str, NDArray[Any]]  #: one row per request, in order of arrival
    segments: dict[str, NDArray[Any]]  #: see Timelines; `first_step`, `steps` count the instance's decode steps
    steps: dict[str, NDArray[Any]]  #: one row per step or stretch, `STEP_COLUMNS`
    step_ends_s: tuple[Times, ...]  #: per instance, the end of each decode step
    reasons: tuple[str, ...]  #: what the numbers in requests["reason"] stand for
    end_s: float  #: when the last request ended, or the run was stopped
    #: one row per handover between instances, `TRANSFER_COLUMNS`; without rows in a cluster that is not disaggregated
    transfers: dict[str, NDArray[Any]] = field(default_factory=lambda: no_rows(TRANSFER_COLUMNS))
    #: one row per state of an instance, `INSTANCE_STATE_COLUMNS`, but off; without rows where all are always ready
    instance_states: dict[str, NDArray[Any]] = field(default_factory=lambda: no_rows(INSTANCE_STATE_COLUMNS))

    step_yields: Ints | None = None  #: tokens of each step of each segment, one after another, if they were drawn

    def timelines(self) -> Timelines:
        """Token times as they left the GPU."""
        offsets = np.cumsum([0, *(len(ends) for ends in self.step_ends_s)])
        order = np.argsort(self.segments["request"], kind="stable")
        segment = {name: column[order] for name, column in self.segments.items()}
        requests, speculates = self.requests, "tokens" in segment
        return Timelines(
            arrival_s=requests["arrival_s"],
            end_s=requests["end_s"],
            outcome=requests["outcome"],
            prompt_tokens=requests["prompt_tokens"],
            output_tokens=requests["output_tokens"],
            request=segment["request"],
            head_s=segment["head_s"],
            start=segment["first_step"] + offsets[segment["instance"]],
            count=segment["tokens"] if speculates else segment["steps"],
            times_s=joined(self.step_ends_s),
            paces=self._paces(order) if speculates else None,
        )

    def _paces(self, order: Ints) -> Paces | DrawnPaces:
        """How many tokens the steps of segments yield, in this order."""
        if self.step_yields is not None:
            return DrawnPaces.of(self.segments["steps"], self.step_yields, order)
        return Paces(self.segments["gain"][order], self.segments["phase"][order])
