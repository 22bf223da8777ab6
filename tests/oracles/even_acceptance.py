"""Batches of sequences that speculate, as sums, against sequences counted one by one, in random cases.

`python -m tests.oracles.even_acceptance 20000` tries so many, and says what it found; the tests try a few.
"""

from __future__ import annotations

import sys

import numpy as np

from llmsim.acceptance import PER_TOKEN
from llmsim.engine.memory import KVMemory
from llmsim.engine.speculation.batch import SpeculativeBatch
from llmsim.engine.speculation.blocks import Reservation
from llmsim.engine.speculation.stepwise import SpeculativeListBatch
from llmsim.request import Request

MOST_DRAFTS = 6


def requests(rng, n):
    """Sequences of different lengths, phases and acceptance, which have their prompt in memory."""
    made = []
    for id in range(n):
        request = Request(id, 0.0, int(rng.integers(1, 70)))
        request.prefilled_tokens, request.emitted_before = request.prompt_tokens, 1
        request.phase = int(rng.integers(0, PER_TOKEN))
        request.acceptance = tuple(int(rng.integers(100, 100 * (k + 1) + 1)) for k in range(MOST_DRAFTS + 1))
        made.append(request)
    return made


def case(rng):
    """Let sequences join, leave, draft other numbers and step in both kinds; AssertionError if they differ."""
    seed, n, lag = int(rng.integers(2**32)), int(rng.integers(1, 5)), int(rng.integers(0, 2))
    block_tokens, reach = int(rng.choice([1, 4, 16])), (1 + lag) * (1 + MOST_DRAFTS) + int(rng.integers(0, 7))
    batches, members = [], []
    for kind in (SpeculativeBatch, SpeculativeListBatch):
        batches.append(kind(KVMemory(10_000, block_tokens), Reservation(reach, lag)))
        members.append(requests(np.random.default_rng(seed), n))
    left = rng.integers(1, 40, n).tolist()
    for id in range(n):
        drafts = int(rng.integers(0, MOST_DRAFTS + 1))
        for batch, own in zip(batches, members, strict=True):
            batch.join(own[id], left[id], drafts)
    while batches[0].sequences:
        _compare(batches, rng)
        id = int(rng.choice(list(batches[0].members)))
        if rng.random() < 0.3:
            # under asynchronous scheduling (`lag`) the number of drafts does not change: that is refused
            drafts, emitted = int(rng.integers(0, MOST_DRAFTS + 1)), set()
            if lag:
                drafts = members[0][id].pace.drafts
            for batch, own in zip(batches, members, strict=True):
                emitted.add(batch.leave(own[id]))
            assert len(emitted) == 1, "what a sequence has emitted differs"
            left[id] -= emitted.pop()
            for batch, own in zip(batches, members, strict=True):
                batch.join(own[id], left[id], drafts)
            continue
        ahead = [batch.steps_ahead(10_000) for batch in batches]
        assert ahead[0] == ahead[1], "steps to the next finish differ"
        steps = int(rng.integers(1, ahead[0] + 1))
        done = [list(batch.advance(steps)) for batch in batches]
        assert sorted(done[0]) == sorted(done[1]), "finishes differ"
        for id in done[0]:
            for batch, own in zip(batches, members, strict=True):
                batch.leave(own[id])
    states = [[(r.emitted_before, r.phase, r.prefilled_tokens, r.ahead_tokens) for r in own] for own in members]
    assert states[0] == states[1], "what sequences are left with differs"


def _compare(batches, rng):
    steps, free = int(rng.integers(0, 30)), int(rng.integers(0, 12))
    for what in ("sequences", "context", "stride"):
        one, other = (getattr(batch, what) for batch in batches)
        assert one == other, f"{what}: {one} and {other}"
    assert dict(batches[0].mix) == dict(batches[1].mix), "numbers of drafts differ"
    one, other = (batch.blocks_needed() for batch in batches)
    assert one == other, f"blocks of a step: {one} and {other}"
    one, other = (batch.blocks_within(steps) for batch in batches)
    assert one == other, f"blocks of {steps} steps: {one} and {other}"
    one, other = (batch.steps_ahead(free) for batch in batches)
    assert one == other, f"steps that {free} blocks last for: {one} and {other}"


def main(cases: int) -> int:
    """Try so many cases; return how many differ."""
    faults = 0
    for seed in range(cases):
        try:
            case(np.random.default_rng(seed))
        except AssertionError as fault:
            faults += 1
            print(f"case {seed}: {fault}")
    print(f"{cases:,} random cases: {faults} differ")
    return faults


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1])) else 0)
