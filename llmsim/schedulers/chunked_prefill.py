"""Chunked prefill as vLLM's V1 engine does it (vllm/v1/core/sched/scheduler.py, 0.33).

One token budget per step. Running requests go first: those that decode take one token each, an unfinished prompt takes
what it can. If that preempted none, waiting requests follow, first come first served, until budget, memory or seats
run out; a prompt is admitted only if all of it fits in memory, and one that does not fit blocks those behind it.

`long_prefill_token_threshold` cuts prompts into smaller chunks, so that several are under way at once; the only request
of an engine is not cut (since vLLM 0.31; before, it was). Decodes still find their tokens, wherever they stand among
the running ones: a request is admitted only if budget is left after all before it, which ask for less and less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmsim.errors import InputError
from llmsim.request import RequestView
from llmsim.scheduler import (
    DECODE,
    Decision,
    InstanceView,
    Scheduler,
    decodes_by_itself,
    latest_to_preempt,
    positive,
    share,
    to_prefill,
)
from llmsim.waiting import Key

#: (request, tokens that it still needs, token budget that is left) -> tokens to prefill in this step; below 1: none
Grant = Callable[[RequestView, int, int], int]


@dataclass(frozen=True)
class ChunkedPrefill(Scheduler):
    """vLLM V1's scheduler, with its option names and its API server's defaults on an A100."""

    max_num_batched_tokens: int = 2048  #: token budget of a step
    max_num_seqs: int = 256  #: most requests that run at once
    #: share of all KV blocks that an admission beside others leaves free; a prompt too long for that waits for the end
    #: of all others
    watermark: float = 0.0
    long_prefill_token_threshold: int = 0  #: most prompt tokens of one request in a step, beside others; 0: no limit
    #: whether that is at least an equal share of the budget for each request that runs or waits
    long_prefill_token_threshold_adaptive: bool = False

    honours_speculation = True
    null_blocks = 1

    def __post_init__(self) -> None:
        positive(max_num_batched_tokens=self.max_num_batched_tokens, max_num_seqs=self.max_num_seqs)
        share(watermark=self.watermark)
        if self.long_prefill_token_threshold < 0:
            raise InputError(f"long_prefill_token_threshold is {self.long_prefill_token_threshold}, expected 0 or more")
        if self.long_prefill_token_threshold_adaptive and not self.long_prefill_token_threshold:
            raise InputError(
                "long_prefill_token_threshold_adaptive raises a threshold: set long_prefill_token_threshold"
            )
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise InputError(
                f"max_num_batched_tokens ({self.max_num_batched_tokens}) must be at least "
                f"max_num_seqs ({self.max_num_seqs}): every running request decodes a token in each step"
            )

    @property
    def most_running(self) -> int | None:
        """As many as there are seats."""
        return self.max_num_seqs

    @decodes_by_itself
    def schedule(self, view: InstanceView) -> Decision:
        """Running requests first, then the queue."""
        if not (view.num_waiting or view.num_prefilling) and view.decode_blocks <= view.free_blocks:
            return DECODE
        return self._decide(view, self._grant(view))

    def _most_of_one(self, view: InstanceView) -> int:
        """Prompt tokens that one request has of this step at most."""
        budget, threshold = self.max_num_batched_tokens, self.long_prefill_token_threshold
        if not threshold or (requests := view.num_running + view.num_waiting) <= 1:
            return budget
        return max(threshold, budget // requests) if self.long_prefill_token_threshold_adaptive else threshold

    def _decide(self, view: InstanceView, grant: Grant) -> Decision:
        budget, most = self.max_num_batched_tokens, self._most_of_one(view)
        prefill: dict[int, int] = {}
        blocks: dict[int, int] = {}
        free = view.free_blocks - view.decode_blocks
        for request in view.prefilling if view.num_prefilling else ():
            tokens = grant(request, min(request.tokens_to_prefill, most), budget)
            if tokens > 0:
                budget -= tokens
                prefill[request.id] = tokens
                needed = view.blocks_for(request.computed_tokens + tokens) - view.blocks_held(request)
                blocks[request.id] = needed
                free -= needed
        if free < 0:
            return self._make_room(view, prefill, blocks)
        if view.num_waiting:
            self._admit(view, prefill, grant, most, budget, free)
        return to_prefill(prefill)

    def _make_room(self, view: InstanceView, prefill: dict[int, int], blocks: dict[int, int]) -> Decision:
        """Preempt until the step fits; `blocks`: request id -> what its chunk of `prefill` takes."""
        victims = latest_to_preempt(view, blocks, self._victims_key())
        kept = {id: n for id, n in prefill.items() if id not in victims}
        # the next step may have room for a request smaller than these, if the queue puts it first
        return Decision(kept, preempt=victims, review_at_s=view.now_s)

    def _admit(
        self, view: InstanceView, prefill: dict[int, int], grant: Grant, most: int, budget: int, free: int
    ) -> None:
        seats = self.max_num_seqs - view.num_running
        if seats <= 0:
            return
        # vLLM counts its null block, which no request can have, as one of all
        watermark = int(self.watermark * (view.total_blocks + 1)) if self.watermark else 0
        size = view.block_tokens
        reserve = watermark if view.num_running else 0
        admission = view.admission(prefill)
        for request in view.waiting:
            to_prefill = request.tokens_to_prefill
            cached, in_use = admission.found(request)
            wanted = to_prefill - cached
            tokens = grant(request, wanted if wanted < most else most, budget)
            if tokens <= 0 or seats <= 0 or -(-to_prefill // size) - in_use + reserve > free:
                return
            admission.add(request, tokens)
            prefill[request.id] = tokens
            budget -= tokens
            seats -= 1
            free -= -(-(cached + tokens) // size) - in_use
            reserve = watermark  # guards running requests

    def _grant(self, view: InstanceView) -> Grant:
        """Say what prompts get of a step: all that decoding requests leave."""
        decoding = view.num_decoding * view.query_tokens

        def grant(_: RequestView, wanted: int, left: int) -> int:
            left -= decoding
            return wanted if wanted < left else left  # a call of min takes ten times as long

        return grant

    def _victims_key(self) -> Key | None:
        """Say which requests are preempted where memory runs short: of the greatest key; None: the latest admitted."""
        return None
