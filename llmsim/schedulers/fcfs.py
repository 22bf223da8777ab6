"""First come first served with whole prompts first: the default scheduler of vLLM 0.5.3 (core/scheduler.py).

If any waiting prompt fits, the step holds whole prompts only and decoding requests stand still (the generation
stall that chunked prefill was made to avoid). Otherwise all running requests decode.

One simplification: when its turn to decode comes, 0.5.3 wants a free block for each sequence even if it needs none;
here it takes a real shortage to preempt.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmsim.request import RequestView
from llmsim.scheduler import (
    DECODE,
    Decision,
    InstanceLimits,
    InstanceView,
    Scheduler,
    decodes_by_itself,
    latest_to_preempt,
    positive,
    share,
)


@dataclass(frozen=True)
class Fcfs(Scheduler):
    """vLLM 0.5.3's default scheduler, with its option names and defaults."""

    max_num_batched_tokens: int | None = None  #: most prompt tokens in a step; None: max(max_model_len, 2048)
    max_num_seqs: int = 256  #: most requests that run at once
    #: share of all KV blocks, none of which this engine keeps for itself, that an admission beside others leaves free
    watermark: float = 0.01

    def __post_init__(self) -> None:
        positive(max_num_batched_tokens=self.max_num_batched_tokens, max_num_seqs=self.max_num_seqs)
        share(watermark=self.watermark)

    @property
    def most_running(self) -> int | None:
        """As many as there are seats."""
        return self.max_num_seqs

    @decodes_by_itself
    def schedule(self, view: InstanceView) -> Decision:
        """Prompts if any fits, else decode."""
        prefill = self._whole_prompts(view) if view.num_waiting else {}
        if prefill:
            return Decision(prefill, decode=False)
        victims = latest_to_preempt(view)
        return Decision(preempt=victims) if victims else DECODE

    def _whole_prompts(self, view: InstanceView) -> dict[int, int]:
        prefill: dict[int, int] = {}
        budget = self._budget(view)
        seats = self.max_num_seqs - view.num_running
        free = view.free_blocks
        reserve = int(self.watermark * view.total_blocks) if view.num_running else 0
        admission = view.admission(decode=False)
        for request in view.waiting:
            cached, in_use = admission.found(request)
            tokens = request.tokens_to_prefill - cached
            blocks = view.blocks_for(cached + tokens) - in_use
            # the first may exceed the budget: preempted requests outgrow it, longer prompts have been rejected
            if seats <= 0 or (prefill and tokens > budget) or blocks + reserve > free:
                break
            admission.add(request, tokens)
            prefill[request.id] = tokens
            budget -= tokens
            seats -= 1
            free -= blocks
            reserve = int(self.watermark * view.total_blocks)  # guards running requests
        return prefill

    def _budget(self, limits: InstanceLimits) -> int:
        if self.max_num_batched_tokens is None:
            return max(limits.max_model_len, 2048)
        return self.max_num_batched_tokens

    def why_never(self, request: RequestView, limits: InstanceLimits) -> str | None:
        """Reject a prompt that no step has room for, or that the watermark keeps out of an empty instance."""
        if request.prompt_tokens > self._budget(limits):
            return f"prompt is {request.prompt_tokens} tokens, max_num_batched_tokens is {self._budget(limits)}"
        reserve = int(self.watermark * limits.total_blocks)
        blocks = limits.blocks_for(request.prompt_tokens)
        if blocks + reserve <= limits.total_blocks:
            return None
        return f"prompt needs {blocks} KV blocks, the watermark leaves {limits.total_blocks - reserve}"
