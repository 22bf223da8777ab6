"""Holding tokens back at the GPU, in the manner of Andes (arXiv 2404.16283): a request ahead of its reader is held.

A reader takes so many tokens per second from the first one on. A request whose reader has enough to read on keeps its
memory but leaves the step to others; it resumes before the reader has caught up. That helps where computing is what is
short; where memory is (`llmsim run overloaded --scheduler token_delay`), holding only keeps others out.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass
from math import inf

from llmsim.request import RequestView
from llmsim.scheduler import DECODE, Decision, InstanceView, positive
from llmsim.schedulers.chunked_prefill import ChunkedPrefill


@dataclass(frozen=True)
class TokenDelay(ChunkedPrefill):
    """Chunked prefill in which requests ahead of their readers are held."""

    tokens_per_s: float = 5.0  #: how fast a reader takes tokens
    lead_tokens: int = 10  #: how far ahead of its reader a request may run

    asks_every_step = True

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(tokens_per_s=self.tokens_per_s, lead_tokens=self.lead_tokens)

    def schedule(self, view: InstanceView) -> Decision:
        """Schedule as chunked prefill does, and hold those whose readers have enough.

        Notes when each held request resumes, (s, id) in ascending order: that stands still while it is held, so that
        only those that decode are looked at.
        """
        decision = super().schedule(view)
        now_s, noted, held, preempted = view.now_s, view.notes or (), view.held, decision.preempt
        resumes = list(noted[bisect_right(noted, (now_s, inf)) :])
        if len(noted) != len(held):  # some have left
            resumes = [each for each in resumes if each[1] in held]
        for request in view.decoding:
            resume_s = self._resume_s(request)
            if now_s < resume_s:
                insort(resumes, (resume_s, request.id))
        if preempted:
            resumes = [each for each in resumes if each[1] not in preempted]
        if not resumes:
            return decision._replace(notes=()) if noted else decision
        hold, review_s, notes = frozenset([id for _, id in resumes]), resumes[0][0], tuple(resumes)
        if decision is DECODE:
            return Decision(hold=hold, review_at_s=review_s, notes=notes)  # at half the cost of the same below
        return decision._replace(hold=hold, review_at_s=review_s, notes=notes)

    def _resume_s(self, request: RequestView) -> float:
        """When the reader is down to `lead_tokens` unread tokens."""
        return request.first_token_s + (request.emitted_tokens - self.lead_tokens) / self.tokens_per_s
