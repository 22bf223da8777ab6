"""SLOs-Serve: admission by what can still be in time, and batches as long as tokens may take (arXiv 2504.08784).

A request declares by when its first token is due, and how long each further one may take: its tier. At each step the
new ones are accepted or declined, for good, by a dynamic programme (slo_plan.py) that knows how long batches take.
Batches last as long as the tightest tier allows that is served: first the accepted requests that decode, a looser tier
only as often as it must, then the prompts of accepted ones by their deadlines. What is left of a batch goes to the
declined ones (*best effort*), which also give their memory back first. An accepted request whose first token is late is
of no use any more, and goes on as one of them.

Where requests speculate, the plan chooses how many tokens each tier drafts: batches may then last as long as what is
expected to be accepted of the tightest one, so that more of each batch is left for prompts. Each accepted request
drafts what keeps it so far ahead of its SLO that its output may end at any token. With no prompt to compute, all that
decode draft more, as long as that yields more in a second and the batch is in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from math import inf
from typing import NamedTuple

from llmsim.errors import InputError
from llmsim.request import RequestView
from llmsim.scheduler import NO_CHUNKS, Decision, InstanceView, Scheduler, positive
from llmsim.slo_batch import (
    SHORT,
    Chunk,
    Computed,
    batch_times,
    deadline_s,
    gain_of,
    most_within,
    needs_with_drafts,
    needs_without_drafts,
    tiers_of,
    token_s,
)
from llmsim.slo_plan import BatchTimes, Candidate, admit


class Standing(NamedTuple):
    """What has been decided of requests that are still here."""

    accepted: frozenset[int]
    declined: frozenset[int]


NEW = Standing(frozenset(), frozenset())


@dataclass(frozen=True)
class SlosServe(Scheduler):
    """Accepts what it can serve in time, and serves the rest when it can."""

    honours_speculation = True
    chooses_drafts = True
    needs_slo = True
    needs_whole_requests = True
    declines = True

    max_num_seqs: int = 256  #: most requests that run at once
    max_num_batched_tokens: int = 8192  #: most tokens of a step, where no bound on tokens makes it shorter
    most_new: int = 8  #: requests that one decision looks at, of those that are new; the others wait for the next
    #: of requests without a prediction or a bound, for the memory that they will need
    expected_output_tokens: int = 256
    step_time_error: float = 0.0  #: relative error of the times that steps are expected to take; 0.2: 20 % too long

    def __post_init__(self) -> None:
        positive(
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            most_new=self.most_new,
            expected_output_tokens=self.expected_output_tokens,
        )
        if not self.step_time_error > -1:
            raise InputError(f"step_time_error is {self.step_time_error}, expected more than -1")

    @property
    def most_running(self) -> int | None:
        """As many as there are seats."""
        return self.max_num_seqs

    def schedule(self, view: InstanceView) -> Decision:
        """Accept or decline what is new, then fill the next batch."""
        situation = Situation(self, view)
        standing = situation.decide()
        batch = Batch(situation, standing)
        decision = batch.decision()._replace(notes=standing)
        return decision if batch.lasts else decision._replace(review_at_s=view.now_s)

    def accepts(self, request: RequestView, view: InstanceView) -> bool:
        """Plan with this request beside those that have not been looked at; with too many of these, no."""
        situation = Situation(self, view)
        new = situation.new
        return len(new) < self.most_new and request.id in situation.accepts([*new, request])


class Situation:
    """An instance as this policy reads it: which requests are accepted, and how long batches take."""

    def __init__(self, policy: SlosServe, view: InstanceView) -> None:
        self.policy = policy
        self.view = view
        self.running = list(view.running)
        self.waiting = list(view.waiting)
        self.decoding: list[RequestView] = []
        self.computing: list[RequestView] = []  #: admitted, with a prompt that is not complete
        for request in self.running:
            if request.tokens_to_prefill:
                self.computing.append(request)
            elif not view.rests(request):
                self.decoding.append(request)
        self.known = self._still_known(view.notes or NEW)

    def _still_known(self, known: Standing) -> Standing:
        """What has been decided of those that are here; accepted ones whose first token is late are declined."""
        here = {request.id for request in self.running}
        here.update(request.id for request in self.waiting)
        accepted, declined, now_s = known.accepted & here, known.declined & here, self.view.now_s
        if accepted:
            begins = (r for r in self.prompts if r.id in accepted and not r.emitted_tokens)
            if late := {r.id for r in begins if deadline_s(r) <= now_s}:
                return Standing(accepted - late, declined | late)
        return Standing(accepted, declined)

    @property
    def prompts(self) -> Iterable[RequestView]:
        """Requests with a prompt to compute, those that are admitted first."""
        return chain(self.computing, self.waiting)

    @cached_property
    def place(self) -> dict[int, int]:
        """Of each running request in the order of admission."""
        return {request.id: place for place, request in enumerate(self.running)}

    @property
    def most_drafts(self) -> int:
        """The most tokens that a request may draft."""
        return self.view.query_tokens - 1

    def step_s(
        self, prefill: Sequence[Chunk], decoding: int, context_tokens: int, drafts: Mapping[int, int] = NO_CHUNKS
    ) -> float:
        """How long a step is expected to take."""
        return self.view.step_time_s(prefill, decoding, context_tokens, drafts) * (1 + self.policy.step_time_error)

    def decide(self) -> Standing:
        """Accept as many of the new requests as can be in time, and decline the others."""
        accepted, declined = self.known
        new = self.new[: self.policy.most_new]
        if not new:
            return self.known
        chosen = self.accepts(new)
        return Standing(accepted | chosen, declined | ({r.id for r in new} - chosen))

    @property
    def new(self) -> list[RequestView]:
        """Requests of which nothing has been decided."""
        accepted, declined = self.known
        return [r for r in self.waiting if r.id not in accepted and r.id not in declined]

    def accepts(self, new: Sequence[RequestView]) -> frozenset[int]:
        """Which of these can be in time, beside those that are accepted."""
        now_s, accepted = self.view.now_s, self.known.accepted
        able = [r for r in new if deadline_s(r) > now_s and token_s(r) < inf]
        standing = [r for r in (*self.running, *self.waiting) if r.id in accepted]
        tier, tiers = tiers_of((*able, *standing), self.batch_times)
        candidates = [self._candidate(r, tier[r.id], stays=False) for r in able]
        candidates += [self._candidate(r, tier[r.id], stays=True) for r in standing if r.tokens_to_prefill]
        decoding = [0] * len(tiers.tpot_s)
        for request in standing:
            decoding[tier[request.id]] += not request.tokens_to_prefill
        return admit(candidates, tuple(decoding), tiers, self._free_blocks(standing)).accepted

    def _candidate(self, request: RequestView, tier: int, *, stays: bool) -> Candidate:
        blocks = 0 if stays else self._blocks(request)
        left_s = deadline_s(request) - self.view.now_s
        return Candidate(request.id, left_s, request.tokens_to_prefill, tier, blocks, stays)

    def _blocks(self, request: RequestView) -> int:
        """KV blocks that a request will need in the end."""
        output = request.predicted_output_tokens or request.max_tokens or self.policy.expected_output_tokens
        return self.view.blocks_for(request.prompt_tokens + max(output, request.emitted_tokens + 1))

    def _free_blocks(self, standing: Iterable[RequestView]) -> int:
        return self.view.total_blocks - sum(map(self._blocks, standing))

    @cached_property
    def batch_times(self) -> BatchTimes:
        """How long batches take now."""
        context = sum(r.computed_tokens + 1 for r in self.decoding)
        return batch_times(self.step_s, len(self.decoding), context, self.most_drafts)


class Batch:
    """The next batch, filled request by request: time, tokens, memory and seats that are left of it."""

    def __init__(self, situation: Situation, standing: Standing) -> None:
        self._situation = situation
        self._view = view = situation.view
        accepted, declined = standing
        self._accepted = accepted
        self._urgent = [r for r in situation.decoding if r.id in accepted]
        self._prompts = sorted((r for r in situation.prompts if r.id in accepted), key=deadline_s)
        self._later = [r for r in situation.waiting if r.id in declined]
        if situation.most_drafts:
            needs = needs_with_drafts(self._urgent, self._prompts, view.now_s, situation.batch_times)
        else:
            needs = needs_without_drafts(self._urgent, self._prompts, view.now_s)
        self._limit_s, self._due_s, self._drafts = needs
        self._taken = 0  # KV blocks
        self._seats = situation.policy.max_num_seqs - view.num_running
        self._computed = Computed(situation.step_s)
        self._prefill: dict[int, int] = {}
        self._victims: list[RequestView] = []

    def decision(self) -> Decision:
        """Accepted requests that decode, their prompts by deadlines, then best effort."""
        spared = self._spared()
        self._decode([r for r in self._urgent if r.id not in spared] if spared else self._urgent)
        for request in self._prompts:
            if request not in self._victims:
                self._compute(request)
        self._best_effort()
        if self._idle:
            for request in self._urgent:
                self._decode_one(request)
        drafts = self._more_drafts() if self._situation.most_drafts else NO_CHUNKS
        if not self._victims and len(self._computed.drafts) == len(self._situation.decoding):
            return Decision(self._prefill, drafts=drafts)
        gone = {request.id for request in self._victims}
        busy = gone | self._computed.drafts.keys()
        hold = frozenset(r.id for r in self._situation.decoding if r.id not in busy)
        return Decision(self._prefill, hold=hold, preempt=tuple(r.id for r in self._victims), drafts=drafts)

    @property
    def _idle(self) -> bool:
        return not (self._computed.drafts or self._computed.chunks)

    @property
    def _tokens(self) -> int:
        """How many more it may compute."""
        return self._situation.policy.max_num_batched_tokens - self._computed.tokens

    @property
    def lasts(self) -> bool:
        """Whether the next batches are as this one until anything changes but time: all decode, and none need wait.

        What requests draft goes by time as well.
        """
        situation, decoding = self._situation, len(self._computed.drafts)
        if situation.most_drafts:
            return False
        idle = not (situation.computing or situation.waiting) and decoding == len(situation.decoding)
        return idle and (self._limit_s == inf or decoding == len(self._urgent))

    def _spared(self) -> set[int]:
        """Requests of looser tiers whose next tokens are in time one batch later, if there are prompts to serve."""
        if not self._prompts:
            return set()
        longer_s, after_s, due_s = 2 * self._limit_s, self._view.now_s + 2 * self._limit_s, self._due_s
        if not self._drafts:
            return {r.id for r in self._urgent if due_s[r.id] >= after_s and token_s(r) >= longer_s}
        gain = {r.id: gain_of(r, self._drafts[r.id]) for r in self._urgent}
        return {r.id for r in self._urgent if due_s[r.id] >= after_s and gain[r.id] * token_s(r) >= longer_s}

    # Filling it --------------------------------------------------------------------------------------------

    def _decode(self, requests: Sequence[RequestView]) -> None:
        """Let requests decode, whatever that takes of others."""
        view = self._view
        if len(requests) == len(self._situation.decoding):
            blocks = view.decode_blocks
        else:
            blocks = sum(map(view.blocks_to_decode, requests))
        if self._victims or blocks > self._free:
            for request in requests:
                self._decode_one(request)
            return
        self._taken += blocks
        self._computed.decode(requests, self._drafts)

    def _decode_one(self, request: RequestView) -> None:
        if request not in self._victims and self._find(self._view.blocks_to_decode(request), request):
            self._computed.decode((request,), self._drafts)

    def _compute(self, request: RequestView) -> bool:
        """Compute as much of a prompt as the batch has room for; return whether all of it."""
        running = request in self._situation.computing
        computed = request.computed_tokens if running else self._view.cached_tokens(request)
        left = request.tokens_to_prefill - (0 if running else computed)
        if not running and not self._seat(request):
            return False
        tokens = self._most(min(left, self._tokens), lambda n: self._computed.step_s((computed, n)))
        if not tokens and self._idle:
            tokens = min(left, SHORT)  # a step that is too long is better than none
        held = self._view.blocks_held(request) if running else 0
        if tokens <= 0 or not self._find(self._view.blocks_for(computed + tokens) - held, request):
            return False
        self._seats -= not running
        self._computed.prefill(computed, tokens)
        self._prefill[request.id] = tokens
        return tokens == left

    def _best_effort(self) -> None:
        """What is left goes to declined requests: those that decode, then their prompts, one after another."""
        decoding = [r for r in self._situation.decoding if r.id not in self._accepted]
        if decoding:
            contexts = [0, *accumulate(r.computed_tokens + 1 for r in decoding)]
            most = min(len(decoding), self._tokens)
            self._decode(decoding[: self._most(most, lambda n: self._computed.step_s(None, n, contexts[n]))])
        prompts = (r for r in self._situation.computing if r.id not in self._accepted)
        for request in chain(prompts, self._later):
            whole = self._view.blocks_for(request.computed_tokens + request.tokens_to_prefill)
            if request in self._victims:
                continue
            if (request.computed_tokens == 0 and whole > self._free) or not self._compute(request):
                return

    def _most(self, high: int, time_s: Callable[[int], float]) -> int:
        """The largest number from 0 to `high` with which the batch is within its time."""
        if high <= 0 or self._limit_s == inf:
            return max(high, 0)
        return most_within(self._limit_s, high, time_s)

    def _more_drafts(self) -> dict[int, int]:
        """Drafts of those that decode: as planned, or more where no prompt is computed."""
        computed = self._computed
        if computed.chunks or not computed.drafts:
            return computed.drafts
        acceptance = {r.id: r.acceptance for r in self._situation.decoding if r.id in computed.drafts}
        return computed.best_drafts(acceptance, self._limit_s, self._situation.policy.max_num_batched_tokens)

    # Memory and seats --------------------------------------------------------------------------------------

    @property
    def _free(self) -> int:
        return self._view.free_blocks + self._view.blocks_freed(self._victims) - self._taken

    def _find(self, blocks: int, request: RequestView) -> bool:
        """Take memory for a request, of those if need be that are preempted before it; return whether it is there."""
        while blocks > self._free:
            if not self._preempt(request):
                return False
        self._taken += blocks
        return True

    def _seat(self, request: RequestView) -> bool:
        """Have a seat for a request that waits, of one if need be that is preempted; return whether there is one."""
        return self._seats > 0 or self._preempt(request)

    def _preempt(self, request: RequestView) -> bool:
        """Preempt the latest of best effort, or else the latest accepted, but none admitted before the request."""
        accepted = request.id in self._accepted
        place = self._situation.place.get(request.id, inf)
        for victim in reversed(self._situation.running):
            later = self._situation.place[victim.id] > place
            if victim.id in self._accepted or self._is_busy(victim) or not (accepted or later):
                continue
            return self._give_up(victim)
        for victim in reversed(self._situation.running) if accepted else ():
            if self._situation.place[victim.id] > place and not self._is_busy(victim):
                return self._give_up(victim)
        return False

    def _is_busy(self, request: RequestView) -> bool:
        """Whether a request is in the batch, or preempted already."""
        return request.id in self._computed.drafts or request.id in self._prefill or request in self._victims

    def _give_up(self, victim: RequestView) -> bool:
        self._victims.append(victim)
        self._seats += 1
        return True
