"""Shortest expected delay: the queue in seconds rather than requests, for instances that are not equally fast.

The rule is that of queueing theory for servers of different speed (join the queue i with the least (n_i + 1) / mu_i;
Winston, J. Appl. Prob. 1977, has the case of equal ones), with the work of a request cut into prompt and output.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmsim.request import RequestView
from llmsim.router import FleetView, Router
from llmsim.scheduler import positive


@dataclass(frozen=True)
class ShortestExpectedDelay(Router):
    """The instance that would be done first with all it has and this request; ties go to the lowest number.

    Prompts in the queue are counted at the speed of prefill, and `expected_output_tokens` for each request that has not
    ended, this one included, at that of decoding; both speeds are measured beforehand (`router.BENCHMARK`).
    """

    expected_output_tokens: int = 200  #: assumed of every request that has not ended

    def __post_init__(self) -> None:
        positive(expected_output_tokens=self.expected_output_tokens)

    def route(self, request: RequestView, fleet: FleetView) -> int:
        """Compare all."""
        prefill_s = (fleet.waiting_tokens + request.prompt_tokens) / fleet.prefill_tokens_per_s
        decode_s = (fleet.outstanding + 1) * self.expected_output_tokens / fleet.decode_tokens_per_s
        return int((prefill_s + decode_s).argmin())
