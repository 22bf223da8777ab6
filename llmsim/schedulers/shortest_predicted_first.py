"""Shortest predicted first: chunked prefill whose queue goes by predicted output lengths (as SSJF, arXiv 2404.08509).

No running request is stopped for a shorter one: the rule is shortest job first, not shortest remaining time. A long
request may wait for ever where short ones keep coming; `aging_tokens_per_s` sets an end to that. With it a request of n
tokens more than another goes before it all the same if it came n / aging_tokens_per_s seconds earlier. All requests age
alike, so that the order of two requests never changes while they wait.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmsim.errors import InputError
from llmsim.request import RequestView
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.waiting import SortedQueue, WaitingQueue


@dataclass(frozen=True)
class ShortestPredictedFirst(ChunkedPrefill):
    """Chunked prefill, the queue sorted by predicted work; preempted requests before all others."""

    prompt_weight: float = 0.0  #: how many output tokens a token of the prompt counts as; 0: only the output counts
    aging_tokens_per_s: float = 0.0  #: so much shorter does a request count for each second that it has waited

    needs_prediction = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("prompt_weight", "aging_tokens_per_s"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} is {getattr(self, name)}, expected 0 or more")

    def new_queue(self) -> WaitingQueue:
        """Sort by what is predicted to be left."""
        return SortedQueue(self._key)

    def _key(self, request: RequestView) -> tuple[bool, float]:
        if request.predicted_output_tokens is None:
            raise InputError(f"shortest_predicted_first needs predicted output lengths, request {request.id} has none")
        left = max(request.predicted_output_tokens - request.emitted_tokens, 0)
        work = left + self.prompt_weight * request.prompt_tokens
        return request.preemptions == 0, work + self.aging_tokens_per_s * request.arrival_s
