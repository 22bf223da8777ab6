"""Speculation against a naive simulation of one instance: token by token, nothing shared with the engine.

Each step of a request yields the tokens of even acceptance, counted with a fraction that is carried over, and takes
memory for all that it may compute; where that is short, the latest admitted request is preempted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
import pytest

from llmsim.engine.speculation.rule import Speculation
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import LinearSteps, serve
from llmsim.workload.acceptance import Acceptance, draw_steps
from llmsim.workload.contract import Workload

BLOCK, BUDGET, SEATS = 16, 96, 8
STEP_S, PREFILL_S, SEQUENCE_S, CONTEXT_S = 0.011, 0.0001, 0.0003, 0.000002
DRAFT_S = 0.00007


@dataclass
class Naive:
    id: int
    arrival_s: float
    prompt: int
    output: int
    length: Fraction
    fraction: Fraction
    computed: int = 0  # tokens in memory
    held: int = 0  # blocks
    times_s: list = field(default_factory=list)

    @property
    def to_prefill(self):
        return max(self.prompt + max(len(self.times_s) - 1, 0) - self.computed, 0) if not self.decodes else 0

    decodes: bool = False
    drawn: object = None  # tokens of its steps, one after another
    drafts: int = 0  # in each step

    def total(self):
        return self.prompt + len(self.times_s)


def blocks(tokens):
    return -(-tokens // BLOCK)


def simulate(requests, total_blocks, drafts, reach, context_s):
    """Return the token times of each request."""
    now, coming, waiting, running = 0.0, list(requests), [], []
    while coming or waiting or running:
        while coming and coming[0].arrival_s <= now:
            waiting.append(coming.pop(0))
        if not (waiting or running):
            now = coming[0].arrival_s
            continue
        chunks, budget, preempted = {}, BUDGET, False
        decoding = [r for r in running if r.decodes]
        budget -= len(decoding) * (1 + drafts)
        for r in running:
            if not r.decodes and budget > 0:
                chunks[r.id] = min(r.total() - r.computed, budget)
                budget -= chunks[r.id]

        def wanted(r, chunks=chunks):
            tokens = r.computed + reach if r.decodes else r.computed + chunks.get(r.id, 0)
            return max(blocks(tokens) - r.held, 0)

        used = sum(r.held for r in running)
        while sum(map(wanted, running)) > total_blocks - used:
            victim = running.pop()
            used -= victim.held
            chunks.pop(victim.id, None)
            victim.computed, victim.held, victim.decodes = 0, 0, False
            waiting.insert(0, victim)
            preempted = True
        free = total_blocks - used - sum(map(wanted, running))
        while waiting and not preempted and len(running) < SEATS and budget > 0:
            r = waiting[0]
            if blocks(r.total()) > free:
                break
            chunks[r.id] = min(r.total(), budget)
            budget -= chunks[r.id]
            free -= blocks(chunks[r.id])
            running.append(waiting.pop(0))
        if not running or not (chunks or any(r.decodes for r in running)):
            continue
        verifying = [r for r in running if r.decodes]
        context = sum(r.computed + 1 + r.fraction for r in verifying)
        for r in running:
            r.held += wanted(r)
        now += STEP_S + PREFILL_S * sum(chunks.values()) + SEQUENCE_S * len(verifying) + context_s * float(context)
        now += DRAFT_S * sum(r.drafts for r in verifying)
        for r in list(running):
            if r.decodes:
                r.fraction += r.length if r.drawn is None else next(r.drawn)
                while r.fraction >= 1:
                    r.fraction -= 1
                    r.computed += 1
                    if len(r.times_s) < r.output:
                        r.times_s.append(now)
            elif r.id in chunks:
                r.computed += chunks[r.id]
                if r.computed == r.total():
                    r.times_s.append(now)
                    r.decodes = True
            if len(r.times_s) == r.output:
                running.remove(r)
    return {r.id: r.times_s for r in requests}


def tokens_of_steps(seed, length, drafts):
    """Tokens of each step, drawn: the first drafts are accepted with these probabilities, given all before them."""
    rng = np.random.default_rng(int(seed))
    sure, rest = divmod(length - 100, 100)
    while True:
        for u in rng.random(64):
            yield 1 + sure + (u < rest / 100)


class ById(ChunkedPrefill):
    """Lets requests draft up to `view.query_tokens` - 1 tokens, by their ids."""

    chooses_drafts = True

    def schedule(self, view):
        decision = super().schedule(view)
        going_on = (request.id for request in view.decoding if request.id not in decision.preempt)
        return decision._replace(drafts={id: id % view.query_tokens for id in going_on})


def times_of_a_mix(drafts, context_s):
    """Step times where sequences draft different numbers of tokens: each drafted token takes as long."""

    def times(mix):
        drafted = sum(k * n for k, n in mix.items())
        return LinearSteps(STEP_S + DRAFT_S * drafted, PREFILL_S, SEQUENCE_S, context_s)

    alone = {k: LinearSteps(STEP_S, PREFILL_S, SEQUENCE_S + DRAFT_S * k, context_s) for k in range(drafts + 1)}
    return Speculation(((1, drafts),), 0, alone, mixed=times)


@pytest.mark.parametrize("kind", ["even", "random", "by id"])
@pytest.mark.parametrize("seed", range(12))
def test_token_times_equal_those_of_a_naive_simulation(seed, kind):
    rng = np.random.default_rng(seed)
    n, drafts, total_blocks = 25, int(rng.integers(1, 6)), int(rng.choice([24, 30, 400]))
    lookahead = int(rng.choice([0, drafts]))
    arrival_s = np.cumsum(rng.exponential(0.01 if total_blocks < 100 else 0.3, n))
    prompts, outputs = rng.integers(1, 200, n), rng.integers(1, 90, n)
    lengths, phases = rng.integers(100, 100 * (drafts + 1) + 1, 2), rng.integers(0, 100, n)
    of_request = rng.integers(0, 2, n)
    context_s = CONTEXT_S if kind != "random" else 0.0  # of what is drawn, step times know the mean context
    rule = Speculation(((1, drafts),), lookahead, {drafts: LinearSteps(STEP_S, PREFILL_S, SEQUENCE_S, context_s)})
    first_ones = [[min(100 * k + 100, int(length)) for k in range(drafts + 1)] for length in lengths]
    acceptance = Acceptance(tuple(map(tuple, first_ones)), of_request, phases)
    if kind == "random":
        acceptance = draw_steps(rng, first_ones, of_request, drafts)
    requests = replace(Workload(arrival_s, prompts, outputs, "drawn"), acceptance=acceptance)
    policy = ChunkedPrefill(BUDGET, SEATS)
    if kind == "by id":
        lookahead, policy, rule = 0, ById(BUDGET, SEATS), times_of_a_mix(drafts, context_s)
    record = serve(requests, policy, speculation=rule, num_gpu_blocks=total_blocks)
    naives = []
    for i, row in enumerate(zip(arrival_s.tolist(), prompts.tolist(), outputs.tolist(), strict=True)):
        length, phase = int(lengths[of_request[i]]), int(phases[i])
        own = i % (drafts + 1) if kind == "by id" else None
        length = length if own is None else first_ones[of_request[i]][own]
        naives.append(Naive(i, *row, Fraction(length, 100), Fraction(0 if kind == "random" else phase, 100)))
        naives[-1].drafts = own or 0
        if kind == "random":
            naives[-1].drawn = tokens_of_steps(acceptance.seeds[i], length, drafts)
    naive = simulate(naives, total_blocks, drafts, 1 + drafts + lookahead, context_s)
    timelines = record.timelines()
    for id, times_s in naive.items():
        assert timelines.token_times_s(id) == pytest.approx(times_s, rel=1e-9)
    if total_blocks < 100:
        assert record.requests["preemptions"].sum() > 0
