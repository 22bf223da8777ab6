"""A run in the words of a benchmark's client, for files that others read: what was sent when, and when tokens came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from llmsim.interop.measured import Load
from llmsim.metrics import ranges
from llmsim.record import Floats, Ints, Timelines, expand
from llmsim.request import Outcome


@dataclass(frozen=True, eq=False)
class Served:
    """N requests as their clients saw them. Times in seconds from the first arrival."""

    timelines: Timelines
    model: str
    load: Load
    errors: Sequence[str]  #: (N,) why a request came to nothing; empty where it was served
    seed: int = 0

    @cached_property
    def sent_s(self) -> Floats:
        """(N,) from which waits count."""
        arrival_s = self.timelines.arrival_s
        return arrival_s - (arrival_s.min() if len(arrival_s) else 0.0)

    @cached_property
    def served(self) -> list[int]:
        """Requests that got all of their tokens."""
        return np.flatnonzero(self.timelines.outcome == Outcome.FINISHED).tolist()

    @cached_property
    def tokens_s(self) -> list[Floats]:
        """Times of each request's tokens after its sending; N arrays."""
        rows, times = ranges.layout(self.timelines), self.timelines
        every_s, _ = expand(times.times_s, rows.head_s, rows.start, rows.count, rows.paces)
        ends: Ints = np.cumsum(rows.n_tokens)
        each = np.split(every_s, ends[:-1]) if len(ends) else []
        return [of_one - sent for of_one, sent in zip(each, times.arrival_s, strict=True)]

    @cached_property
    def duration_s(self) -> float:
        """From the first sending to the last end."""
        times = self.timelines
        return float(times.end_s.max() - times.arrival_s.min()) if len(times) else 0.0

    @property
    def n_tokens(self) -> Ints:
        """(N,) that each request got."""
        return ranges.n_tokens(self.timelines)


def gaps_s(times_s: Floats) -> Floats:
    """Gaps between the chunks of a stream; tokens that come at the same time come in one."""
    return np.diff(np.unique(times_s))
