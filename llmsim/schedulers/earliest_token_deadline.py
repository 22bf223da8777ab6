"""Earliest token deadline first: the paper's own SLO (arXiv 2410.14257, eq. 5) as a scheduling rule.

Token i of a request is due d_i = offset + i / rate after its arrival: when a reader that began at once would want it.
All tokens wait for the same step, so the least slack is the earliest deadline. A step's token budget goes by it:
prompts wait in the order of their deadlines, and each gets what is left once every decoding request with an earlier one
has its token. A request so far ahead of its reader that the budget ends before its turn is held: it keeps its memory,
and emits nothing in this step. Where memory runs short, the request furthest ahead is preempted.

Under overload every prompt is late, and serving the latest first makes all of them late: as everywhere, earliest
deadline first is a rule for loads that can be served.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from llmsim.errors import InputError
from llmsim.request import RequestView
from llmsim.scheduler import Decision, InstanceView, positive
from llmsim.schedulers.chunked_prefill import ChunkedPrefill, Grant
from llmsim.waiting import Key, SortedQueue, WaitingQueue


@dataclass(frozen=True)
class EarliestTokenDeadline(ChunkedPrefill):
    """Chunked prefill whose budget goes by the deadlines of tokens, not to decoding requests first."""

    tokens_per_s: float = 5.0  #: how fast a reader takes tokens, from the arrival on
    offset_s: float = 0.0  #: response delay that a reader tolerates

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(tokens_per_s=self.tokens_per_s)
        if not self.offset_s >= 0:
            raise InputError(f"offset_s is {self.offset_s}, expected 0 or more")

    def new_queue(self) -> WaitingQueue:
        """Sort by when the next token is due."""
        return SortedQueue(self._due)

    def schedule(self, view: InstanceView) -> Decision:
        """Schedule as chunked prefill does, and hold those whose tokens are due after the budget's end."""
        decision = super().schedule(view)
        if not decision.prefill:
            return decision
        spare = self.max_num_batched_tokens - sum(decision.prefill.values())
        if view.num_decoding <= spare:
            return decision
        decoding = [r for r in view.running if not r.tokens_to_prefill and r.id not in decision.preempt]
        decoding.sort(key=self._due)
        return decision._replace(hold=frozenset(request.id for request in decoding[spare:]))

    def _grant(self, view: InstanceView) -> Grant:
        due: list[tuple[float, int]] = []

        def grant(request: RequestView, wanted: int, left: int) -> int:
            if wanted <= left - view.num_decoding:
                return wanted
            if not due:  # looked at once in a step, and only where the budget is short
                due.extend(sorted(self._due(r) for r in view.running if not r.tokens_to_prefill))
            return min(wanted, left - bisect_right(due, self._due(request)))

        return grant

    def _victims_key(self) -> Key:
        return self._due

    def _due(self, request: RequestView) -> tuple[float, int]:
        """When its next token is due, seconds from the start of the run; ties go by id."""
        return request.arrival_s + self.offset_s + (request.emitted_tokens + 1) / self.tokens_per_s, request.id
