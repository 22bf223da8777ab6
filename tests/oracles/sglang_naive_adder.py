"""Which requests SGLang puts into one prefill batch, one after the other until one is refused (its PrefillAdder).

Independent of llmsim; for sglang_naive.py, whose scheduler `n` it reads.
"""

from __future__ import annotations

CLIP = 4096  # most output tokens that are reckoned with


class Adder:
    """Picks the requests of one prefill batch (PrefillAdder)."""

    def __init__(self, n):
        self.n = n
        self.input = n.s.max_prefill_tokens
        self.chunk = n.s.chunked_prefill_size if n.s.chunked_prefill_size > 0 else None
        self.offset = sum(min(r.max_new - r.emitted, CLIP) * n.ratio_of(r) for r in n.running)
        self.offset_now = 0
        self.batch, self.truncated, self.states = [], None, None

    def rest(self):
        return self.n.rest() - self.offset

    def rest_now(self):
        return self.n.rest() - self.offset_now

    def charge(self, extend, max_new):
        self.offset += extend + 1 + max_new
        self.offset_now += extend + 1
        self.input -= extend
        if self.chunk is not None:
            self.chunk -= extend

    def state(self):
        if self.rest() <= 0 or self.rest_now() <= 0:
            return "no token"
        if self.input <= 0 or (self.chunk is not None and self.chunk <= 0):
            return "other"
        return "continue"

    def add_chunk(self, r):
        most = min(self.chunk, int(self.rest()))
        if most <= 0:
            most = self.chunk
        cut = r.extend > most
        r.extend = min(r.extend, most)
        self.batch.append(r)
        self.charge(r.extend, 0 if cut else min(r.max_new, CLIP))
        return cut

    def add(self, r):
        if r.ignore_eos and not self.n.s.radix_cache:
            return self.simulate(r)
        total = r.extend + min(max(r.max_new - r.emitted, 0), CLIP) + 1
        self.n.tree.lock(r.node, 1)
        verdict = "go on"
        if total >= self.rest():
            verdict = "no token"
        elif self.chunk is None and r.extend >= self.input and self.batch:
            verdict = "other"
        if verdict != "go on":
            self.n.tree.lock(r.node, -1)
            return verdict
        self.take(r)
        return self.state()

    def take(self, r):
        self.batch.append(r)
        if self.chunk is None or r.extend <= self.chunk:
            self.charge(r.extend, min(r.max_new, CLIP))
        else:
            r.extend = self.chunk
            self.truncated = r
            self.charge(r.extend, 0)

    def simulate(self, r):
        need = r.extend + 1
        if need > min(self.rest_now(), self.rest()):
            return "no token"

        def entry(q):
            return q.max_new * self.n.ratio_of(q) - q.emitted, q.prompt + q.emitted

        if self.states is None:
            self.states = sorted(
                (e for q in [r, *self.n.running, *self.batch] if (e := entry(q))[0] > 0), key=lambda e: e[0]
            )
        elif entry(r)[0] > 0:
            i = 0
            for i in range(len(self.states)):
                if entry(r)[0] <= self.states[i][0]:
                    break
            self.states.insert(i, entry(r))
        freed = 0
        for i, (left, occupied) in enumerate(self.states):
            bs = len(self.states) - i
            if self.rest_now() - need + freed - left * bs <= bs:
                return "no token"
            freed += occupied
        self.take(r)
        return self.state()
