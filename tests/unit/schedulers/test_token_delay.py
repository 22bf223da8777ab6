from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from llmsim.scheduler import Decision
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.token_delay import TokenDelay
from llmsim.testing import LinearSteps, PurityChecker, same, serve
from llmsim.testing.builders import drawn


class EveryRequestAskedAnew(TokenDelay):
    """The rule as it is told: of each request that has its prompt computed, is its reader far enough behind?"""

    def schedule(self, view: Any) -> Decision:
        decision = ChunkedPrefill.schedule(self, view)
        resume_s = {
            request.id: request.first_token_s + (request.emitted_tokens - self.lead_tokens) / self.tokens_per_s
            for request in view.running
            if not request.tokens_to_prefill and request.id not in decision.preempt
        }
        hold = frozenset(id for id, when_s in resume_s.items() if view.now_s < when_s)
        return decision._replace(hold=hold, review_at_s=min(resume_s[id] for id in hold)) if hold else decision


@pytest.mark.parametrize("blocks", [1000, 60])
def test_only_those_that_decode_are_looked_at_and_the_decisions_are_the_same(blocks: int) -> None:
    requests = drawn(np.random.default_rng(3), 60, 20.0)
    options = {"latency": LinearSteps(sequence_s=0.0001, context_token_s=1e-6), "num_gpu_blocks": blocks}
    policy = {"tokens_per_s": 20.0, "lead_tokens": 3}
    notes = PurityChecker(TokenDelay(**policy))
    record = serve(requests, notes, **options)
    anew = PurityChecker(EveryRequestAskedAnew(**policy))

    assert same(record, serve(requests, anew, **options))
    assert [(s, d.hold, d.review_at_s) for s, d in notes.decisions] == [
        (s, d.hold, d.review_at_s) for s, d in anew.decisions
    ]
    assert any(decision.hold for _, decision in notes.decisions)


def looked_at(held: int) -> int:
    """Requests whose tokens are read in a decision while so many others are held."""
    reads = 0

    class Running:
        id, first_token_s = 0, 0.0

        @property
        def emitted_tokens(self) -> int:
            nonlocal reads
            reads += 1
            return 100

    view = SimpleNamespace(
        now_s=1.0,
        notes=tuple((2.0 + id, id) for id in range(1, held + 1)),
        held=set(range(1, held + 1)),
        decoding=[Running()],
        running=[Running() for _ in range(held + 1)],
        num_waiting=0,
        num_prefilling=0,
        num_decoding=held + 1,
        decode_blocks=0,
        free_blocks=10,
    )
    decision = TokenDelay().schedule(view)
    assert len(decision.hold) == held + 1
    return reads


def test_a_decision_looks_at_as_many_requests_however_many_are_held() -> None:
    assert looked_at(160) == looked_at(10) == 1
