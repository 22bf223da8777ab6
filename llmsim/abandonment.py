"""Giving up: the server drops requests that have missed their SLO, or are bound to (arXiv 2410.14257, section 4).

A request that misses counts nothing towards goodput, so a server that is judged by goodput gains by dropping it. The
wrapper goes around any scheduler and frees memory at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import nextafter

from llmsim.latency.contract import LatencyModel
from llmsim.request import RequestView
from llmsim.scheduler import Around, Decision, InstanceView, Scheduler

INFINITE_S = float("inf")


@dataclass(frozen=True)
class Deadlines:
    """When a request's next token, or its last, is late, in seconds after its arrival; None: no such bound.

    Bounds on gaps (TBT, TPOT) are not among them: what a server sees at a step boundary does not tell them.
    """

    ttft_s: float | None = None
    e2e_s: float | None = None
    tokens_per_s: float | None = None  #: the paper's eq. 5, d_i = i / tokens_per_s

    def next_s(self, request: RequestView) -> float:
        """When the next token of a request is due, seconds from the start of the run."""
        emitted = request.emitted_tokens
        due_s = INFINITE_S if self.e2e_s is None else self.e2e_s
        if self.ttft_s is not None and emitted == 0:
            due_s = min(due_s, self.ttft_s)
        if self.tokens_per_s is not None:
            due_s = min(due_s, (emitted + 1) / self.tokens_per_s)
        return request.arrival_s + due_s


class Abandoning(Around):
    """A scheduler that drops requests which miss a deadline, and leaves the rest to another scheduler.

    With `foresee` a waiting request is dropped as soon as it must miss: even alone, in a step that starts now, its
    prefill would end too late by this latency model.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        deadlines: Deadlines,
        *,
        waiting: bool = True,
        running: bool = True,
        foresee: LatencyModel | None = None,
    ) -> None:
        super().__init__(scheduler)
        self.deadlines = deadlines
        self.waiting = waiting
        self.running = running
        self.foresee = foresee

    def schedule(self, view: InstanceView) -> Decision:
        """Drop late requests; if there are none, let the other scheduler decide, until one may be late."""
        late: set[int] = set()
        review_s = INFINITE_S
        for request, due_s in self._due(view):
            if view.now_s >= due_s:  # its next token comes after this boundary
                late.add(request.id)
            else:
                review_s = min(review_s, due_s)
        if late:
            return Decision(abandon=frozenset(late), decode=False)
        decision = self.scheduler.schedule(view)
        if decision.preempt:
            review_s = view.now_s  # a preempted request may have to be dropped sooner: ask at the next boundary
        if review_s == INFINITE_S or (decision.review_at_s is not None and decision.review_at_s <= review_s):
            return decision
        return decision._replace(review_at_s=review_s)

    def _due(self, view: InstanceView) -> Iterator[tuple[RequestView, float]]:
        """When each request that may be dropped has to be, at the latest."""
        for request in view.waiting if self.waiting else ():
            due_s = self.deadlines.next_s(request)
            if self.foresee is not None:
                # a prefill that starts at this time just makes it: one that starts later does not
                cached = view.cached_tokens(request)
                starts_s = due_s - self.foresee.step_time_s(((cached, request.tokens_to_prefill - cached),), 0, 0)
                due_s = nextafter(starts_s, INFINITE_S)
            yield request, due_s
        for request in view.running if self.running else ():
            yield request, self.deadlines.next_s(request)
