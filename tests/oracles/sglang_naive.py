"""SGLang 0.5.23's scheduler written down as plainly as possible, request by request and token by token.

Independent of llmsim: nothing is imported from it, nothing is shared with it. Times are whole ticks, memory is token
slots (page_size 1). The rules are those of the notes on the engine; the test beside it holds this against what SGLang's
own code decided.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.oracles.sglang_naive_adder import Adder
from tests.oracles.sglang_naive_tree import Node, Tree

RETRACT_STEPS, DECAY_STEPS = 20, 600


@dataclass
class Settings:
    kv_tokens: int
    chunked_prefill_size: int
    max_prefill_tokens: int
    max_running_requests: int
    radix_cache: bool
    schedule_policy: str
    schedule_conservativeness: float
    page_size: int = 1


@dataclass(eq=False)
class Req:
    id: int
    arrival: int
    prompt: int
    output: int
    max_new: int
    ignore_eos: bool
    parts: list
    emitted: int = 0
    node: Node | None = None  # of the tree, locked
    shared: int = 0  # tokens whose slots are the tree's
    slots: int = 0  # tokens that have a slot, shared ones included
    extend: int = 0  # tokens computed in the present prefill
    retracted: bool = False
    finished: bool = False
    scheduled: int | None = None
    first: int | None = None
    end: int | None = None
    retractions: int = 0
    prefixes: list = field(default_factory=list)

    def length(self):
        return self.prompt + self.emitted

    def tokens(self, n):
        names = []
        for name, end in self.parts:
            names += [("part", name, i) for i in range(len(names), end)]
        names += [("own", self.id, i) for i in range(len(names), n)]
        last = self.prompt + self.output - 1
        if self.output < self.max_new and last < n:
            names[last] = "eos"
        return tuple(names[:n])


@dataclass
class Batch:
    kind: str
    reqs: list
    ticks: int
    prefill: list
    chunked: Req | None
    end: int = 0
    computed: dict = field(default_factory=dict)


class Naive:
    """One scheduler with its pool, queue, tree and running batch."""

    def __init__(self, settings: Settings, step_time: dict, requests: list, overlap: bool = False):
        self.s, self.cost, self.overlap = settings, step_time, overlap
        self.reqs = [Req(i, *row) for i, row in enumerate(requests)]
        for r in self.reqs:
            r.max_new = min(r.max_new, settings.kv_tokens - 1 - r.prompt - 1)
        self.init_ratio = min(0.7 * settings.schedule_conservativeness, 1.0)
        self.min_ratio = min(self.init_ratio * 0.14, 1.0)
        self.ratio = self.init_ratio
        self.tree = Tree()
        self.queue, self.running, self.last, self.chunked = [], [], None, None
        self.full = False
        self.calls = 0
        self.own_slots = 0  # slots that are not the tree's
        self.pending = []  # batches whose results are not processed
        self.log, self.retracted_now, self.admitted_now = [], [], []

    # memory ------------------------------------------------------------------------------------------------
    def available(self):
        return self.s.kv_tokens - self.tree.size() - self.own_slots

    def rest(self):
        return self.available() + self.tree.evictable()

    def make_room(self, tokens):
        if self.available() < tokens:
            self.tree.evict(tokens - self.available())

    def allocate(self, tokens):
        self.make_room(tokens)
        assert self.available() >= tokens
        self.own_slots += tokens

    def checkpoint(self, r, committed, keep):
        """Insert what a request has computed into the tree; keep: it goes on, and holds what is there now."""
        if self.s.radix_cache:
            tokens = r.tokens(committed)
            self.tree.insert(tokens, r.prompt)
            self.own_slots -= committed - r.shared
            if r.node:
                self.tree.lock(r.node, -1)
            if keep:
                r.node, r.shared = self.tree.walk(tokens)
                self.tree.lock(r.node, 1)
        if not keep:
            self.own_slots -= r.slots - (committed if self.s.radix_cache else 0)
            r.node, r.shared, r.slots = None, 0, 0

    # queue -------------------------------------------------------------------------------------------------
    def prioritise(self):
        if not self.queue:
            return
        lpm = self.s.schedule_policy == "lpm" and self.s.radix_cache
        if lpm and len(self.queue) <= 128:
            self.sort_by_prefix()
        elif self.s.radix_cache:
            if self.calls % 32 == 0:
                for r in reversed(self.queue[:128]):
                    self.tree.walk(r.tokens(r.length()))
            self.calls += 1

    def sort_by_prefix(self):
        seen, match, last = Tree(), {}, set()
        for r in self.queue:
            tokens = r.tokens(r.length())
            _, found = self.tree.walk(tokens)
            match[r] = min(found, r.length() - 1)
            if found <= 32:
                if seen.walk(tokens)[1] >= 32:
                    last.add(r)
                else:
                    seen.insert(tokens, len(tokens))
        self.queue.sort(key=lambda r: (r in last, 0 if r in last else -match[r]))

    # prefill -----------------------------------------------------------------------------------------------
    def ratio_of(self, r):
        return 1.0 if r.ignore_eos else self.ratio

    def seats(self, chunked):
        """Requests that a prefill batch may hold, the one whose chunks are under way included."""
        held = sum(1 for r in self.reqs if r.slots and r is not chunked)
        return self.s.max_running_requests - max(len(self.running), held)

    def form_prefill(self):
        if (self.full or not self.queue) and self.chunked is None:
            return None
        if self.chunked is None and self.seats(None) <= 0:
            self.full = True
            return None
        self.prioritise()
        a = Adder(self)
        under_way = self.chunked
        if under_way:
            self.chunked = under_way if a.add_chunk(under_way) else None
        seats = self.seats(under_way)
        for r in self.queue:
            if a.state() == "other":
                break
            if len(a.batch) >= seats:
                self.full = True
            if self.full:
                break
            r.node, r.shared = self.tree.root, 0
            if self.s.radix_cache:
                r.node, r.shared = self.tree.walk(r.tokens(r.length() - 1))
            r.extend = r.length() - r.shared
            verdict = a.add(r)
            if r not in a.batch:
                r.shared, r.node = 0, None
            if verdict != "continue":
                if verdict == "no token":
                    self.full = True
                break
        if not a.batch:
            return None
        self.admitted_now = [(r.id, r.shared) for r in a.batch if r is not under_way]
        self.queue = [r for r in self.queue if r not in a.batch]
        if a.truncated:
            self.chunked = a.truncated
        for r in a.batch:
            if r is not under_way:
                r.prefixes.append(r.shared)
                r.slots = r.shared
                r.retracted = False
                if r.scheduled is None:
                    r.scheduled = self.now
        total = sum(r.extend for r in a.batch)
        self.allocate(total)
        for r in a.batch:
            r.slots += r.extend
        prefill = [(r.id, r.extend) for r in a.batch]
        ticks = self.cost["step"] + total * self.cost["prefill_token"]
        return Batch("prefill", list(a.batch), ticks, prefill, self.chunked)

    # decode ------------------------------------------------------------------------------------------------
    def filter_running(self):
        before = len(self.running)
        self.running = [r for r in self.running if not r.finished]
        if len(self.running) < before:
            self.full = False

    def pending_of(self, r):
        return sum(1 for batch in self.pending if r in batch.reqs and r is not batch.chunked)

    def form_decode(self):
        before = len(self.running)
        if self.overlap:
            self.running = [r for r in self.running if r.emitted + self.pending_of(r) < r.max_new]
        if not self.running:
            self.full = False
            return None
        needed = len(self.running)
        self.make_room(needed)
        if self.available() < needed:
            if len(self.running) < before:
                self.full = False
                return None
            self.retract()
        else:
            self.ratio = max(self.ratio - (self.init_ratio - self.min_ratio) / DECAY_STEPS, self.min_ratio)
        if len(self.running) < before:
            self.full = False
        self.allocate(len(self.running))
        context = 0
        for r in self.running:
            r.slots += 1
            context += r.slots
        ticks = self.cost["step"] + len(self.running) * self.cost["sequence"] + context * self.cost["context_token"]
        return Batch("decode", list(self.running), ticks, [], None)

    def retract(self):
        order = sorted(self.running, key=lambda r: (r.emitted, -r.prompt), reverse=True)
        first = True
        while len(order) > 1 and (first or self.rest() < len(order)):
            first = False
            r = order.pop()
            if r.node:
                self.tree.lock(r.node, -1)
            self.own_slots -= r.slots - r.shared
            r.node, r.shared, r.slots = None, 0, 0
            r.retracted = True
            r.retractions += 1
            self.make_room(RETRACT_STEPS * len(order))
            self.retracted_now.append(r)
            self.queue.append(r)
        self.running = order
        emitted = sum(r.emitted for r in order)
        self.ratio = min(1.0, (emitted + RETRACT_STEPS * len(order)) / (sum(r.max_new for r in order) + 1))

    # the loop ----------------------------------------------------------------------------------------------
    def next_batch(self):
        self.retracted_now, self.admitted_now = [], []
        if self.chunked:
            self.checkpoint(self.chunked, self.chunked.slots, keep=True)
            self.chunked.extend = self.chunked.length() - self.chunked.slots
        self.filter_running()
        if self.last and self.last.kind == "prefill":
            joining = [r for r in self.last.reqs if not r.finished and r is not self.last.chunked]
            if len(joining) < len(self.last.reqs):
                self.full = False
            if joining:
                if not self.running:
                    self.full = False
                self.running = self.running + joining
        if not self.running:
            self.full = False
        return self.form_prefill() or (self.form_decode() if self.running else None)

    def process(self, batch):
        done = []
        for r in batch.reqs:
            if r is batch.chunked or r.finished or r.retracted:
                continue
            r.emitted += 1
            if r.first is None:
                r.first = self.now
            if r.emitted == r.output:
                r.finished, r.end = True, self.now
                done.append(r.id)
                self.checkpoint(r, r.slots, keep=False)
            elif batch.kind == "prefill":
                self.checkpoint(r, r.slots if not self.overlap else batch.computed[r], keep=True)
        return done

    def run(self):
        self.now, self.gpu_free = 0, 0
        arrivals = sorted(self.reqs, key=lambda r: (r.arrival, r.id))
        while True:
            while arrivals and arrivals[0].arrival <= self.now:
                self.queue.append(arrivals.pop(0))
            batch = self.next_batch()
            if batch:
                start = max(self.now, self.gpu_free)
                batch.end = self.gpu_free = start + batch.ticks
                batch.computed = {r: r.slots for r in batch.reqs}
                self.pending.append(batch)
                self.write_down(batch, start)
            if self.pending and (not self.overlap or self.last):
                oldest = self.pending.pop(0)
                self.now = oldest.end
                done = self.process(oldest)
                if not self.overlap:
                    self.log[-1].append(done)
            elif batch is None:
                self.ratio = self.init_ratio
                if not arrivals:
                    break
                self.now = arrivals[0].arrival
            self.last = batch
        assert not [*self.queue, *self.running], "requests are left"
        return self.log, [[r.scheduled, r.first, r.end, r.retractions, r.prefixes] for r in self.reqs]

    def write_down(self, batch, start):
        tokens = sum(n for _, n in batch.prefill)
        decode = [r.id for r in batch.reqs] if batch.kind == "decode" else []
        if self.overlap:
            row = [self.now, start, batch.end, tokens, len(decode), len(self.retracted_now)]
        else:
            evictable = self.tree.evictable() if self.s.radix_cache else 0
            held = self.s.kv_tokens - self.available() - evictable
            row = [
                start,
                batch.end,
                [list(p) for p in batch.prefill],
                decode,
                [r.id for r in self.retracted_now],
                [list(a) for a in self.admitted_now],
                held,
                evictable,
                len(self.queue),
                len(self.running),
                self.chunked.id if self.chunked else None,
                int(self.full),
                self.ratio,
            ]
        self.log.append(row)
