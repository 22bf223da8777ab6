"""Static batching: no request joins until the whole batch is done. The textbooks' baseline (before Orca, OSDI 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from llmsim.scheduler import DECODE, Decision, InstanceView, Scheduler, decodes_by_itself, latest_to_preempt, positive


@dataclass(frozen=True)
class Static(Scheduler):
    """Fill the empty instance with waiting prompts, run them to the end, repeat."""

    max_num_seqs: int = 32  #: size of a batch

    honours_speculation = True

    def __post_init__(self) -> None:
        positive(max_num_seqs=self.max_num_seqs)

    @property
    def most_running(self) -> int | None:
        """As many as there are seats."""
        return self.max_num_seqs

    @decodes_by_itself
    def schedule(self, view: InstanceView) -> Decision:
        """Start a batch when the last one is done, else decode."""
        if view.num_running:
            victims = latest_to_preempt(view)
            return Decision(preempt=victims) if victims else DECODE
        prefill: dict[int, int] = {}
        free = view.free_blocks
        admission = view.admission(decode=False)
        for request in view.waiting:
            cached, in_use = admission.found(request)
            tokens = request.tokens_to_prefill - cached
            blocks = view.blocks_for(cached + tokens) - in_use
            if len(prefill) == self.max_num_seqs or blocks > free:
                break
            admission.add(request, tokens)
            prefill[request.id] = tokens
            free -= blocks
        return Decision(prefill, decode=False)
