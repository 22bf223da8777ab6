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
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.waiting import Key, SortedQueue, WaitingQueue


@dataclass(frozen=True)
class EarliestTokenDeadline(ChunkedPrefill):
    """Chunked prefill whose budget goes by the deadlines of tokens, not to decoding requests first."""

    tokens_per_s: float = 5.0  #: how fast a reader takes tokens, from the arrival on
    offset_s: float = 0.0  #: response delay that a reader tolerates

    honours_speculation = False

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(tokens_per_s=self.tokens_per_s)
        if not self.offset_s >= 0:
            raise InputError(f"offset_s is {self.offset_s}, expected 0 or more")

    def new_queue(self) -> WaitingQueue:
        """Sort by when the next token is due."""
        return SortedQueue(self.due)

    def schedule(self, view: InstanceView) -> Decision:
        """Schedule as chunked prefill does, and hold those whose tokens are due after the budget's end."""
        deadlines = _Deadlines(self, view)
        decision = self._decide(view, deadlines.grant)
        if not decision.prefill:
            return decision
        spare = self.max_num_batched_tokens - sum(decision.prefill.values())
        if view.num_decoding <= spare:
            return decision
        due = [id for _, id in deadlines.of_decoding() if id not in decision.preempt]
        return decision._replace(hold=frozenset(due[spare:]))

    def _victims_key(self) -> Key:
        return self.due

    def due(self, request: RequestView) -> tuple[float, int]:
        """When its next token is due, seconds from the start of the run; ties go by id."""
        return request.arrival_s + self.offset_s + (request.emitted_tokens + 1) / self.tokens_per_s, request.id


class _Deadlines:
    """When the next tokens of an instance's requests are due: asked for only where a step's budget is short."""

    __slots__ = ("_decoding", "_policy", "_view")

    def __init__(self, policy: EarliestTokenDeadline, view: InstanceView) -> None:
        self._policy = policy
        self._view = view
        self._decoding: list[tuple[float, int]] | None = None

    def of_decoding(self) -> list[tuple[float, int]]:
        """Those of decoding requests, held ones among them, in order: when, and whose."""
        if self._decoding is None:
            due = self._policy.due
            self._decoding = sorted([due(request) for request in self._view.running if not request.tokens_to_prefill])
        return self._decoding

    def grant(self, request: RequestView, wanted: int, left: int) -> int:
        """Grant a prompt what is left of a budget once each decoding request with an earlier deadline has its token."""
        if wanted <= left - self._view.num_decoding:
            return wanted
        return min(wanted, left - bisect_right(self.of_decoding(), self._policy.due(request)))
