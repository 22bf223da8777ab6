"""What a run writes: requests, steps, and token times as ranges over the step ends of the instances.

No token is ever an object. While a request decodes, each decode step of its instance emits one of its tokens, so its
token times are a *segment*: a range of that instance's step ends, led by the token that its prefill yielded (the head).
A request has one segment more for every preemption, hold or migration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.request import Outcome

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
