"""An engine with two batches in flight, once more and naively: a queue of batches, and a look at every request.

Written from the rules (ENGINES.md, "Asynchronous scheduling"), with nothing of llmsim. Unlike vllm_naive.py it knows
requests that end by a token the engine can't foresee, and users that leave when no token has come.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan


@dataclass(eq=False)
class Request:
    arrival_s: float
    prompt: int
    output: int
    by_length: bool  # whether the engine knows in advance when it ends
    leaves_s: float  # if no token has come by then
    computed: int = 0
    emitted: int = 0
    flying: int = 0  # tokens of it that are being computed
    prefilling: bool = True
    first_scheduled_s: float = nan
    first_token_s: float = nan
    end_s: float = nan
    preemptions: int = 0
    outcome: str = ""

    @property
    def known(self):
        """Tokens that it has, or will have when all batches under way have ended."""
        return self.prompt + self.emitted + self.flying


class Engine:
    def __init__(self, requests, *, budget, seats, blocks, size, step_s):
        self.requests, self.budget, self.seats = requests, budget, seats
        self.size, self.free = size, blocks
        self.step_s = step_s  # of prefilled tokens, decoding requests and their context
        self.waiting, self.running = [], []

    def run(self):
        coming = list(self.requests)
        now_s, gpu_free_s = 0.0, 0.0
        batches = []  # [end_s, scheduled]: the ones under way
        while coming or self.waiting or self.running or batches:
            while coming and coming[0].arrival_s <= now_s:
                self.waiting.append(coming.pop(0))
            self.leave(now_s)
            preempted, scheduled = self.schedule(now_s)
            if scheduled:
                gpu_free_s = max(now_s, gpu_free_s) + self.duration_s(scheduled)
                batches.append((gpu_free_s, scheduled))
                if len(batches) < 2:
                    continue  # at once another one
            elif preempted and not batches:
                continue
            if batches:
                now_s, done = batches.pop(0)
                for request, _, samples in done:
                    if samples and not request.outcome:
                        self.emit(request, now_s)
            elif coming:
                now_s = max(now_s, coming[0].arrival_s)
            else:
                assert not self.waiting, "waits for ever"
        return self

    def held(self, request, more=0):
        return -(-(request.computed + more) // self.size)

    def schedule(self, now_s):
        """Return whether any request was preempted, and [request, tokens, whether a token comes of it]."""
        left, scheduled, preempted = self.budget, [], False
        for request in list(self.running):
            if request not in self.running:
                continue
            ending = request.by_length and request.flying and request.emitted + request.flying == request.output
            tokens = min(request.known - request.computed, left)
            if ending or not tokens:
                continue
            while self.held(request, tokens) - self.held(request) > self.free and request in self.running:
                self.preempt(self.running[-1], scheduled)
                preempted = True
            if request in self.running:
                self.take(request, tokens, scheduled)
                left -= tokens
        while not preempted and self.waiting and left and len(self.running) < self.seats:
            request = self.waiting[0]
            if -(-request.known // self.size) > self.free:
                break
            self.running.append(self.waiting.pop(0))
            if not request.preemptions:
                request.first_scheduled_s = now_s
            tokens = min(request.known, left)
            self.take(request, tokens, scheduled)
            left -= tokens
        return preempted, scheduled

    def take(self, request, tokens, scheduled):
        self.free -= self.held(request, tokens) - self.held(request)
        decodes = (request.computed + tokens) if not request.prefilling else None
        request.computed += tokens
        samples = request.computed == request.known
        if samples:
            request.flying += 1
            request.prefilling = False
        scheduled.append((request, (tokens, decodes), samples))

    def preempt(self, request, scheduled):
        assert all(request is not other for other, _, _ in scheduled), "only later ones give way"
        self.free += self.held(request)
        self.running.remove(request)
        request.computed, request.prefilling = 0, True
        request.preemptions += 1
        self.waiting.insert(0, request)

    def duration_s(self, scheduled):
        prefilled = sum(tokens for _, (tokens, decodes), _ in scheduled if decodes is None)
        contexts = [decodes for _, (_, decodes), _ in scheduled if decodes is not None]
        return self.step_s(prefilled, len(contexts), sum(contexts))

    def emit(self, request, now_s):
        request.flying -= 1
        request.emitted += 1
        if request.emitted == 1:
            request.first_token_s = now_s
        if request.emitted == request.output:
            self.end(request, now_s, "cancelled" if request.first_token_s > request.leaves_s else "finished")

    def leave(self, now_s):
        """Drop the requests of users that have left by now; one that has been served in this very step has been."""
        for request in [*self.running, *self.waiting]:
            waited = request.leaves_s <= now_s and not request.first_token_s <= request.leaves_s
            if waited and request.leaves_s < inf:
                self.end(request, now_s, "cancelled")

    def end(self, request, now_s, outcome):
        request.end_s, request.outcome = now_s, outcome
        if request in self.running:
            self.running.remove(request)
            self.free += self.held(request)
        else:
            self.waiting.remove(request)
