"""vLLM's V1 scheduler and block pool, once more and naively: every block an object, every request looked at every step.

Written from rules (stepwise semantics of vLLM 0.33), with nothing of llmsim, and equal to vLLM's own decisions on all
workloads in peers/vllm (test_vllm_decisions.py). It is what random workloads are compared with.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(eq=False)
class Block:
    users: int = 0
    holds: tuple | None = None  # its name, once it is full


@dataclass
class Pool:
    """All blocks; the free ones in a list, the next to be handed out first."""

    blocks: int
    caching: bool
    free: list[Block] = field(default_factory=list)
    known: dict[tuple, list[Block]] = field(default_factory=dict)  # copies, the oldest first

    def __post_init__(self):
        self.free = [Block() for _ in range(self.blocks)]

    def take(self, n):
        taken, self.free = self.free[:n], self.free[n:]
        for block in taken:
            self.forget(block)
            block.users = 1
        return taken

    def forget(self, block):
        if block.holds is not None:
            copies = self.known[block.holds]
            copies.remove(block)
            if not copies:
                del self.known[block.holds]
            block.holds = None

    def touch(self, blocks):
        for block in blocks:
            if block.users == 0:
                self.free.remove(block)
            block.users += 1

    def name(self, block, holds):
        if self.caching and block.holds is None:
            block.holds = holds
            self.known.setdefault(holds, []).append(block)

    def release(self, blocks):
        unused = []
        for block in reversed(blocks):
            block.users -= 1
            if block.users == 0:
                unused.append(block)
        if not self.caching:
            self.free += unused
            return
        self.free = [b for b in unused if b.holds is None] + self.free + [b for b in unused if b.holds is not None]

    def find(self, names):
        found = []
        for name in names:
            if name not in self.known:
                break
            found.append(self.known[name][0])
        return found


@dataclass(eq=False)
class Request:
    id: int
    arrival: int
    prompt: int
    output: int
    priority: int
    parts: list
    emitted: int = 0
    computed: int = 0
    pending: int = 0  # tokens of batches in flight, not known yet
    caught_up: bool = False  # since it was admitted: from then on it decodes
    table: list[Block] = field(default_factory=list)
    first_scheduled: int | None = None
    first_token: int | None = None
    end: int | None = None
    last_token: int | None = None
    aborted: bool = False
    preemptions: int = 0
    found: list[int] = field(default_factory=list)

    @property
    def tokens(self):
        return self.prompt + self.emitted

    def name(self, place, size):
        last = (place + 1) * size
        part = next((name for name, end in self.parts if last <= end), None)
        return (part, place) if part is not None else ("own", self.id, place)

    def outcome(self):
        return [self.first_scheduled, self.first_token, self.end, self.preemptions, self.found]


class Engine:
    """One engine in virtual time; `steps` and `outcome` as peers/vllm has them."""

    def __init__(self, settings, step_time, requests, patience=None):
        self.patience = patience  # of each request: ticks to its first token, and from one to the next
        self.s, self.time_of = settings, step_time
        self.size = settings["block_size"]
        self.pool = Pool(settings["num_blocks"], settings["prefix_caching"])
        self.watermark = int(settings["watermark"] * (settings["num_blocks"] + 1))
        self.requests = [Request(i, *r) for i, r in enumerate(requests)]
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.steps = []

    # Deciding -----------------------------------------------------------------------------------------------

    def blocks_for(self, tokens):
        return -(-tokens // self.size)

    def cap(self, n):
        return min(n, self.threshold) if self.threshold > 0 else n

    def allocate(self, request, upto):
        more = self.blocks_for(upto) - len(request.table)
        if more > len(self.pool.free):
            return False
        request.table += self.pool.take(more) if more > 0 else []
        self.name_full(request, min(upto, request.tokens))
        return True

    def name_full(self, request, tokens):
        for place in range(tokens // self.size):
            self.pool.name(request.table[place], request.name(place, self.size))

    def preempt(self, request):
        self.pool.release(request.table)
        request.table, request.computed, request.caught_up = [], 0, False
        request.preemptions += 1
        self.waiting.insert(0, request)

    def victim(self):
        if self.s["policy"] == "priority":
            return max(self.running, key=lambda r: (r.priority, r.arrival))
        return self.running[-1]

    def schedule(self, now):
        """Return tokens by request, in order of scheduling; who was preempted; what the admitted found."""
        budget, eligible = self.s["max_num_batched_tokens"], len(self.running) + len(self.waiting)
        self.threshold = self.s.get("long_prefill_token_threshold", 0) if eligible > 1 else 0
        if self.threshold and self.s.get("long_prefill_token_threshold_adaptive"):
            self.threshold = max(self.threshold, budget // eligible)
        scheduled: dict[Request, int] = {}
        preempted, admitted = [], []
        index = 0
        while index < len(self.running) and budget > 0:
            request = self.running[index]
            if request.pending and request.computed + 2 - request.pending >= request.prompt + request.output:
                index += 1  # what is in flight ends it
                continue
            n = min(self.cap(request.tokens + request.pending - request.computed), budget)
            if n == 0:
                index += 1
                continue
            while not self.allocate(request, request.computed + n):
                victim = self.victim()
                self.running.remove(victim)
                if victim in scheduled:
                    budget += scheduled.pop(victim)
                    index -= 1
                self.preempt(victim)
                preempted.append(victim)
                if victim is request:
                    break
            if request in preempted:
                break
            scheduled[request] = n
            budget -= n
            index += 1
        if not preempted:
            self.admit(now, budget, scheduled, admitted)
        return scheduled, preempted, admitted

    def admit(self, now, budget, scheduled, admitted):
        while self.waiting and budget > 0 and len(self.running) < self.s["max_num_seqs"]:
            if self.s["policy"] == "priority":
                self.waiting.sort(key=lambda r: (r.priority, r.arrival, r.id))
            request = self.waiting[0]
            names = [request.name(place, self.size) for place in range((request.tokens - 1) // self.size)]
            found = self.pool.find(names) if self.pool.caching else []
            cached = len(found) * self.size
            n = min(self.cap(request.tokens - cached), budget)
            idle = sum(block.users == 0 for block in found)
            needed = self.blocks_for(request.tokens) - len(found) + idle
            reserve = self.watermark if self.running else 0
            if needed + reserve > len(self.pool.free):
                break
            self.waiting.pop(0)
            self.pool.touch(found)
            request.table, request.computed = list(found), cached
            assert self.allocate(request, cached + n)
            self.running.append(request)
            request.found.append(cached)
            if request.first_scheduled is None:
                request.first_scheduled = now
            admitted.append([request.id, cached])
            scheduled[request] = n
            budget -= n

    # Time ---------------------------------------------------------------------------------------------------

    def decide(self, now):
        """Schedule a batch and move on to its end what is known before it has run: (request, tokens, emits)."""
        while self.coming and self.coming[0].arrival <= now:
            self.waiting.append(self.coming.pop(0))
        scheduled, preempted, admitted = self.schedule(now)
        decode = [r for r in scheduled if r.caught_up]
        duration = self.duration(scheduled, decode)
        batch = []
        for request, n in scheduled.items():
            request.computed += n
            emits = request.computed == request.tokens + request.pending
            request.pending += emits
            request.caught_up |= emits
            batch.append((request, n, emits))
        self.steps.append(
            [
                [[r.id, n] for r, n in scheduled.items() if r not in decode],
                sorted(r.id for r in decode),
                [r.id for r in preempted],
                admitted,
                self.pool.blocks - len(self.pool.free),
                len(self.waiting),
                len(self.running),
            ]
        )
        return batch, duration

    def duration(self, scheduled, decode):
        if not scheduled:
            return 0
        chunks = sum(n for r, n in scheduled.items() if r not in decode)
        context = sum(r.computed + 1 for r in decode)
        t = self.time_of
        return t["step"] + t["prefill_token"] * chunks + t["sequence"] * len(decode) + t["context_token"] * context

    def emit(self, batch, end):
        """Let the tokens of a batch become known; return who has ended."""
        finished = []
        for request, _, emits in batch:
            if not emits or request.aborted:
                continue
            request.last_token = end
            request.emitted += 1
            request.pending -= 1
            if request.first_token is None:
                request.first_token = end
            if request in self.running:
                self.name_full(request, request.computed - request.pending)
            if request.emitted == request.output:
                request.end = end
                finished.append(request.id)
                self.pool.release(request.table)
                (self.running if request in self.running else self.waiting).remove(request)
        return finished

    def leaves(self, request):
        """When the user gives up, if no token comes before."""
        if self.patience is None:
            return float("inf")
        first, following = self.patience[request.id]
        return request.arrival + first if request.last_token is None else request.last_token + following

    def abort(self, requests, now):
        """Take requests out, at once: finish_requests of vLLM, whose blocks are free as those of any that end."""
        for request in requests:
            request.end, request.aborted = now, True
            self.pool.release(request.table)
            (self.running if request in self.running else self.waiting).remove(request)

    def run(self, in_flight=1):
        """Serve all. Batches run one after another; so many may be under way when one is decided."""
        now = free_at = 0  # when the latest batch ends
        under_way = []
        self.coming = sorted(self.requests, key=lambda r: (r.arrival, r.id))
        while self.coming or self.waiting or self.running or under_way:
            if not (self.waiting or self.running or under_way):
                now = max(now, self.coming[0].arrival)
            if self.waiting or self.running or (self.coming and self.coming[0].arrival <= now):
                batch, duration = self.decide(now)
                start = max(now, free_at)
                free_at = start + duration
                under_way.append((batch, free_at))
                self.steps[-1][:0] = [start, free_at]
                if batch and len(under_way) < in_flight:
                    continue
            batch, end = under_way.pop(0)
            now = max(now, end)
            leaving = [r for r in (*self.running, *self.waiting) if self.leaves(r) < now]
            finished = self.emit(batch, now)
            self.abort([r for r in leaving if r.end is None], now)
            if in_flight == 1:
                self.steps[-1].append(finished)
        return self

    @property
    def outcome(self):
        return [request.outcome() for request in self.requests]


def spelled_out(steps):
    """Steps of peers/vllm, with the ids that decode in every one."""
    decode, whole = [], []
    for step in steps:
        decode = decode if step[3] is None else step[3]
        whole.append([*step[:3], decode, *step[4:]])
    return whole
