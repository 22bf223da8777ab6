"""The virtual token counter: fair shares for tenants (arXiv 2401.00588, OSDI 2024).

Chunked prefill whose queue goes by what each tenant has been served (fair_queue.py): the head of the waiting tenant of
the least counter is next, and if it does not fit, none is. Two tenants that wait all the time differ in service by no
more than 2 max(prompt_weight x longest prompt, output_weight x tokens that fit in memory), however they ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llmsim.fair_queue import Charges, FairQueue
from llmsim.scheduler import Decision, InstanceView, decodes_by_itself, positive
from llmsim.schedulers.chunked_prefill import ChunkedPrefill, Grant
from llmsim.waiting import WaitingQueue


@dataclass(frozen=True)
class Vtc(ChunkedPrefill):
    """Chunked prefill, the least served tenant first; a tenant that returns is lifted to those that wait."""

    needs_tenants = True
    needs_whole_requests = True

    prompt_weight: float = 1.0  #: service of a prompt token
    output_weight: float = 2.0  #: service of an output token
    weights: Mapping[str, float] = field(default_factory=dict)  #: share of each tenant, by name; 1 for the others

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(prompt_weight=self.prompt_weight, output_weight=self.output_weight)
        positive(**{f"weights.{name}": weight for name, weight in self.weights.items()})

    def tenants_named(self) -> Sequence[str]:
        """Those with a weight."""
        return tuple(self.weights)

    def new_queue(self) -> WaitingQueue:
        """Go by what tenants have been served."""
        return FairQueue(self._charges())

    def _charges(self) -> Charges:
        return Charges(self.prompt_weight, self.output_weight, self.weights)

    @decodes_by_itself
    def schedule(self, view: InstanceView) -> Decision:
        """Schedule as chunked prefill does; where the first in line does not fit, another may be first a step later."""
        decision = super().schedule(view)
        if not view.num_waiting or decision.prefill or decision.preempt or view.num_running >= self.max_num_seqs:
            return decision
        return decision._replace(review_at_s=view.now_s)

    # Those that have begun to wait are lifted when the queue is read: in every decision, where none is admitted too.

    def _admit(
        self, view: InstanceView, prefill: dict[int, int], grant: Grant, most: int, budget: int, free: int
    ) -> None:
        if view.num_running >= self.max_num_seqs:
            next(iter(view.waiting), None)
        super()._admit(view, prefill, grant, most, budget, free)

    def _make_room(self, view: InstanceView, prefill: dict[int, int], blocks: dict[int, int]) -> Decision:
        next(iter(view.waiting), None)
        return super()._make_room(view, prefill, blocks)
