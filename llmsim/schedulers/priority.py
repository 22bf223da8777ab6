"""Strict priorities as vLLM's V1 engine has them (--scheduling-policy priority, 0.33): the lower value goes first.

The queue goes by priority, then by arrival; a preempted request goes back to its place there. Where memory runs short,
the request of the greatest priority value and the latest arrival gives its own back, wherever it stands; of equals the
one admitted first. What runs is never stopped for a more urgent request that waits. Without classes in the workload
all have priority 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmsim.request import RequestView
from llmsim.scheduler import Decision, InstanceView
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.waiting import SortedQueue, WaitingQueue


@dataclass(frozen=True)
class Priority(ChunkedPrefill):
    """Chunked prefill by priority classes."""

    def new_queue(self) -> WaitingQueue:
        """Sort by priority, then by arrival."""
        return SortedQueue(_urgency)

    def _make_room(self, view: InstanceView, prefill: dict[int, int], blocks: dict[int, int]) -> Decision:
        """Go through those that run, in order, as vLLM does: what a victim had of this step goes to those after it."""
        step = _Step(view, self.max_num_batched_tokens, self._most_of_one(view))
        while step.goes_on():
            pass
        return step.decision()


class _Step:
    """A step in which memory is short, request by request in order of admission."""

    def __init__(self, view: InstanceView, budget: int, most_of_one: int) -> None:
        self._view = view
        self._running = list(view.running)
        self._budget = budget
        self._most_of_one = most_of_one
        self._next = 0  # place among the running ones
        self._free = view.free_blocks  # less what this step takes, but for what victims give back
        self._granted: dict[int, tuple[int, int]] = {}  # tokens and blocks of this step, by request
        self._victims: list[RequestView] = []

    def goes_on(self) -> bool:
        """Grant the next request its tokens, and preempt until they fit; False: there is nothing more to grant."""
        if self._next >= len(self._running) or not self._budget:
            return False
        view, request = self._view, self._running[self._next]
        if view.rests(request):
            self._next += 1
            return True
        tokens = min(request.tokens_to_prefill or view.query_tokens, self._most_of_one, self._budget)
        blocks = view.blocks_to_decode(request)
        if request.tokens_to_prefill:
            computed = request.computed_tokens
            blocks = view.blocks_for(computed + tokens) - view.blocks_for(computed)
        while blocks > self._free + view.blocks_freed(self._victims):
            victim = max(self._running, key=_urgency)
            self._preempt(victim)
            if victim is request:
                return False  # those after it sit this step out
        self._granted[request.id] = tokens, blocks
        self._next += 1
        self._budget -= tokens
        self._free -= blocks
        return True

    def _preempt(self, victim: RequestView) -> None:
        self._running.remove(victim)
        self._victims.append(victim)
        if victim.id in self._granted:  # else vLLM passes over the request that moves up
            tokens, blocks = self._granted.pop(victim.id)
            self._next -= 1
            self._budget += tokens
            self._free += blocks

    def decision(self) -> Decision:
        """What came of it."""
        prefill = {r.id: self._granted[r.id][0] for r in self._running if r.tokens_to_prefill and r.id in self._granted}
        hold = frozenset(r.id for r in self._running if not r.tokens_to_prefill and r.id not in self._granted)
        return Decision(prefill, hold=hold, preempt=tuple(r.id for r in self._victims), review_at_s=self._view.now_s)


def _urgency(request: RequestView) -> tuple[int, float]:
    return request.priority, request.arrival_s
