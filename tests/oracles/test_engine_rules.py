"""The step rules of vLLM, written again from their description: lists, one request at a time, no sums.

Two small loops, V1's and 0.5.3's, serve random workloads under memory pressure; every token must come when llmsim's
engine says. Nothing here is shared with the engine but the time that a step takes. Priorities and prefix caching are
in test_vllm_decisions.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.fcfs import Fcfs
from llmsim.testing import LinearSteps, serve
from llmsim.workload.contract import Workload

BLOCK = 16
#: powers of two, as the arrivals: these add up without rounding, whatever the order
LATENCIES = [LinearSteps(2**-4, 0.0), LinearSteps(2**-7 + 2**-9, 2**-13, 3 * 2**-13, 2**-20)]


@dataclass
class Job:
    arrival_s: float
    prompt: int
    output: int
    computed: int = 0
    blocks: int = 0
    preemptions: int = 0
    decoding: bool = False  #: its last chunk after an admission is a prefill, even of one token
    times_s: list[float] = field(default_factory=list)

    @property
    def tokens(self):
        return self.prompt + len(self.times_s)


class Naive:
    """What both engines share: a queue, a list of running jobs, free blocks, and steps."""

    null_blocks = 0  #: counted in the watermark, beside those that can be used

    def __init__(self, latency, blocks, watermark, budget, seats):
        self.latency, self.free, self.reserve = latency, blocks, int(watermark * (blocks + self.null_blocks))
        self.budget, self.seats = budget, seats
        self.waiting, self.running = [], []

    def take(self, job, tokens):
        """Take the blocks for `tokens` more tokens, if they are there."""
        more = -(-(job.computed + tokens) // BLOCK) - job.blocks
        if more > self.free:
            return False
        self.free -= more
        job.blocks += more
        return True

    def free_blocks_of(self, job):
        self.free += job.blocks
        job.blocks = 0

    def preempt_last(self):
        job = self.running.pop()
        self.free_blocks_of(job)
        job.computed, job.decoding = 0, False
        job.preemptions += 1
        self.waiting.insert(0, job)
        return job

    def fits(self, job):
        """Whether all of a job's tokens fit beside the watermark, which guards those who run: none, no watermark."""
        return -(-job.tokens // BLOCK) + (self.reserve if self.running else 0) <= self.free

    def serve(self, jobs):
        coming, now_s = list(jobs), 0.0
        while coming or self.waiting or self.running:
            if not (self.waiting or self.running):
                now_s = max(now_s, coming[0].arrival_s)
            while coming and coming[0].arrival_s <= now_s:
                self.waiting.append(coming.pop(0))
            now_s = self.compute(self.schedule(), now_s)

    def compute(self, scheduled, now_s):
        chunks = [(job.computed, n) for job, n in scheduled if not job.decoding]
        contexts = [job.tokens for job, _ in scheduled if job.decoding]
        now_s += self.latency.step_time_s(chunks, len(contexts), sum(contexts))
        for job, n in scheduled:
            job.computed += n
            if job.computed == job.tokens:
                job.decoding = True
                job.times_s.append(now_s)
                if len(job.times_s) == job.output:
                    self.running.remove(job)
                    self.free_blocks_of(job)
        return now_s


class NaiveV1(Naive):
    """ENGINES.md, "vLLM V1 step semantics", rules 1 to 5."""

    null_blocks = 1

    def schedule(self):
        budget, scheduled, preempted, i = self.budget, [], False, 0
        while i < len(self.running) and budget > 0:
            job = self.running[i]
            n = min(job.tokens - job.computed, budget)
            while not (got := self.take(job, n)):
                preempted = True
                if self.preempt_last() is job:
                    break
            if not got:
                break
            scheduled.append((job, n))
            budget -= n
            i += 1
        while self.waiting and not preempted and budget > 0 and len(self.running) < self.seats:
            job = self.waiting[0]
            n = min(job.tokens, budget)
            if not self.fits(job):
                break
            assert self.take(job, n)
            self.running.append(self.waiting.pop(0))
            scheduled.append((job, n))
            budget -= n
        assert sum(n for _, n in scheduled) <= self.budget
        return scheduled


class NaiveDefault053(Naive):
    """ENGINES.md, "0.5.3.post1 semantics", default."""

    def schedule(self):
        budget, scheduled = self.budget, []
        while self.waiting and len(self.running) < self.seats:
            job = self.waiting[0]
            if (scheduled and job.tokens > budget) or not self.fits(job):
                break
            assert self.take(job, job.tokens)
            self.running.append(self.waiting.pop(0))
            scheduled.append((job, job.tokens))
            budget -= job.tokens
        if scheduled:
            return scheduled
        self.running.sort(key=lambda job: job.arrival_s)
        i = 0
        while i < len(self.running):
            job = self.running[i]
            while not self.take(job, 1):
                if self.preempt_last() is job:
                    break
            else:
                scheduled.append((job, 1))
                i += 1
        return scheduled


def drawn(seed):
    """A workload, and an instance so small that it preempts. Whatever comes fits an empty instance."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    blocks = int(rng.integers(14, 50))
    watermark = float(rng.choice([0.0, 0.01, 0.1]))
    room = (blocks - int(watermark * blocks)) * BLOCK
    gaps_s = rng.choice([0.0, 2**-4, 1417 * 2**-13, 7373 * 2**-13], n) * rng.integers(0, 3, n)
    prompts = rng.integers(1, min(200, room), n)
    outputs = 1 + (rng.random(n) * np.minimum(rng.choice([5, 80, 800]), blocks * BLOCK - prompts)).astype(int)
    requests = Workload(np.cumsum(gaps_s), prompts, outputs, "drawn")
    latency = LATENCIES[seed % 2]
    return requests, latency, {"blocks": blocks, "watermark": watermark, "seats": int(rng.integers(1, 17))}


@pytest.mark.parametrize("budget", [17, 64, 2048])
@pytest.mark.parametrize(("naive", "policy"), [(NaiveV1, ChunkedPrefill), (NaiveDefault053, Fcfs)])
def test_every_token_as_the_rules_say(naive, policy, budget):
    preempted = 0
    for seed in range(30):
        requests, latency, limits = drawn(seed)
        budget_tokens = budget if naive is NaiveV1 else max(budget, int(requests.prompt_tokens.max()))
        scheduler = policy(
            max_num_batched_tokens=budget_tokens, max_num_seqs=limits["seats"], watermark=limits["watermark"]
        )
        record = serve(requests, scheduler, latency=latency, num_gpu_blocks=limits["blocks"])

        columns = (requests.arrival_s, requests.prompt_tokens, requests.output_tokens)
        jobs = [Job(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
        naive(latency, budget=budget_tokens, **limits).serve(jobs)
        timelines = record.timelines()
        for id, job in enumerate(jobs):
            assert timelines.token_times_s(id).tolist() == job.times_s, f"seed {seed}, request {id}"
        assert record.requests["preemptions"].tolist() == [job.preemptions for job in jobs]
        preempted += record.requests["preemptions"].sum()
    assert preempted > 50, "the workloads put no pressure on memory"
