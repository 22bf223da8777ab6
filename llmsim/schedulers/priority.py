"""Strict priorities as vLLM's V1 engine has them (--scheduling-policy priority, 0.33): the lower value goes first.

The queue goes by priority, then by arrival; a preempted request goes back to its place there. Where memory runs short,
the request of the greatest priority value and the latest arrival gives its own back, wherever it stands. Who runs is
never stopped for somebody more urgent who waits. Without classes in the workload everybody has priority 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmsim.request import RequestView
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.waiting import Key, SortedQueue, WaitingQueue


@dataclass(frozen=True)
class Priority(ChunkedPrefill):
    """Chunked prefill by priority classes."""

    def new_queue(self) -> WaitingQueue:
        """Sort by priority, then by arrival."""
        return SortedQueue(_urgency)

    def _victims_key(self) -> Key:
        return _urgency


def _urgency(request: RequestView) -> tuple[int, float, int]:
    return request.priority, request.arrival_s, request.id
