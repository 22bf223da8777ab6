"""The loop of S-LoRA's engine as the measured runs of VTC show it, around the queue of VTC or an ordinary one.

Whole prompts go first, in a step without decodes, but are looked for only before every eleventh step: so requests that
ended together are replaced together. A request is admitted if, with all that run beside it to their last token, the
peak of memory stays below the pool: engines that know how long outputs are (`max_tokens`) need not preempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmsim.fair_queue import Charges, FairQueue
from llmsim.request import RequestView
from llmsim.scheduler import DECODE, Decision, InstanceView, Scheduler
from llmsim.waiting import ArrivalQueue, WaitingQueue


@dataclass(frozen=True)
class SLora(Scheduler):
    """First come, first served, or with `charges` the least served tenant first."""

    charges: Charges | None = None
    pool_tokens: int = 10_000  #: keys and values that fit in memory
    batch_tokens: int = 3071  #: prompt tokens of a step: the largest measured has 3,008, twelve of 256 never are
    decodes_between: int = 10  #: steps in which requests decode before prompts are looked for again

    asks_every_step = True

    def new_queue(self) -> WaitingQueue:
        """Go by what tenants have been served, or by arrival."""
        return ArrivalQueue() if self.charges is None else FairQueue(self.charges)

    def schedule(self, view: InstanceView) -> Decision:
        """Look for prompts every so many steps, and at once where none runs."""
        next(iter(view.waiting), None)  # tenants that have begun to wait are lifted now
        if view.num_running and view.decode_steps - (view.notes or 0) < self.decodes_between:
            return DECODE
        prefill = self._prompts(view)
        return Decision(prefill, decode=not prefill, notes=view.decode_steps)

    def _prompts(self, view: InstanceView) -> dict[int, int]:
        prefill: dict[int, int] = {}
        budget, there = self.batch_tokens, list(view.running)
        for request in view.waiting:
            there.append(request)
            budget -= request.prompt_tokens
            if budget < 0 or peak_tokens(there) >= self.pool_tokens:
                break
            prefill[request.id] = request.tokens_to_prefill
        return prefill


def peak_tokens(requests: Sequence[RequestView]) -> int:
    """Most tokens in memory from now on, if no other request comes: when one ends, those with more to do are there."""
    left = np.array([(request.max_tokens or 0) - max(request.emitted_tokens, 1) for request in requests])
    held = np.array([request.prompt_tokens + max(request.emitted_tokens, 1) for request in requests])
    longest_first = np.argsort(-left, kind="stable")
    return int((left[longest_first] * np.arange(1, len(left) + 1) + np.cumsum(held[longest_first])).max())
