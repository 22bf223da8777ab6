"""What the batches of SLOs-Serve compute: which requests, how many drafts of each, and how long that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import NamedTuple

from llmsim.acceptance import PER_TOKEN
from llmsim.request import RequestView
from llmsim.slo_plan import ROUNDING, BatchTimes, Tiers

CATCH_UP = 0.5  #: the shortest batch for requests that are behind, of their time per token
AHEAD = 1.0  #: tokens that one which may draft is kept ahead: a batch yields what is expected rounded down or up
SHORT, LONG = 512, 2048  #: tokens of the two prompts that tell how long a token takes
Chunk = tuple[int, int]  #: tokens computed already, tokens to compute
#: seconds of a step: chunks, sequences that decode, the sum of their contexts, how many of them draft how many tokens
StepTime = Callable[[Sequence[Chunk], int, int, Mapping[int, int]], float]


def deadline_s(request: RequestView) -> float:
    """When the first token of a request is due, seconds from the start of the run."""
    slo = request.slo
    return inf if slo is None or slo.ttft_s is None else request.arrival_s + slo.ttft_s


def token_s(request: RequestView) -> float:
    """How long each further token may take: its tier."""
    bound_s = None if request.slo is None else request.slo.per_token_s
    return inf if bound_s is None else bound_s


def tokens_due_s(request: RequestView, tokens: float) -> float:
    """When so many more tokens of a request that decodes are due, counted from its first one."""
    return request.first_token_s + (request.emitted_tokens - 1 + tokens) * token_s(request)


def gain_of(request: RequestView, drafts: int) -> float:
    """Tokens that a batch is expected to yield of a request that drafts so many."""
    return request.acceptance[drafts] / PER_TOKEN


def drafts_needed(request: RequestView, now_s: float, period_s: float) -> int:
    """The fewest drafts that keep a request in time in batches of this length, or else as many as it may draft.

    Also if its output ends with the first token of the next batch, the others of which are then in vain.
    """
    ahead = max(period_s / token_s(request) - 1, 0.0) + AHEAD
    needed = (ahead + (now_s + period_s - tokens_due_s(request, 0.0)) / token_s(request)) * (1 - ROUNDING)
    most = len(request.acceptance) - 1
    return next((k for k in range(most) if gain_of(request, k) >= needed), most)


def tiers_of(requests: Sequence[RequestView], times: BatchTimes) -> tuple[dict[int, int], Tiers]:
    """Return the tier of each of these requests, by id, and what the tiers are."""
    kind = {r.id: (token_s(r), tuple(r.acceptance)) for r in requests}
    kinds = sorted(set(kind.values()))
    number = {each: tier for tier, each in enumerate(kinds)}
    gains = tuple(tuple(length / PER_TOKEN for length in acceptance) for _, acceptance in kinds)
    return {id: number[each] for id, each in kind.items()}, Tiers(tuple(bound for bound, _ in kinds), times, gains)


class Needs(NamedTuple):
    """What a batch must be to keep the accepted requests that decode in time."""

    limit_s: float  #: how long it may be
    due_s: dict[int, float]  #: when what it yields of each is due, by id
    drafts: dict[int, int]  #: tokens that each drafts, by id; none where nothing is drafted


def needs_without_drafts(decoding: Sequence[RequestView], prompts: Sequence[RequestView], now_s: float) -> Needs:
    """As long as the tightest tier that is served allows, less if one that decodes is behind."""
    limit_s, due = min(map(token_s, prompts), default=inf), {}
    for request in decoding:
        bound_s = token_s(request)
        due_s = due[request.id] = request.first_token_s + request.emitted_tokens * bound_s
        limit_s = min(limit_s, bound_s, max(due_s - now_s, CATCH_UP * bound_s))
    return Needs(limit_s, due, {})


def needs_with_drafts(
    decoding: Sequence[RequestView], prompts: Sequence[RequestView], now_s: float, times: BatchTimes
) -> Needs:
    """As long as is best for prompts beside all tiers that are served, less if one is behind that drafts all it may."""
    needs = Needs(inf, {}, {})
    if not (decoding or prompts):
        return needs
    tier, tiers = tiers_of((*decoding, *prompts), times)
    count = Counter(tier.values())
    period_s = limit_s = tiers.shape(tuple(count[each] for each in range(len(tiers.tpot_s))))[0].period_s
    for request in decoding:
        k = needs.drafts[request.id] = drafts_needed(request, now_s, period_s)
        gain = gain_of(request, k)
        due_s = needs.due_s[request.id] = tokens_due_s(request, gain)
        limit_s = min(limit_s, max(due_s - now_s, CATCH_UP * gain * token_s(request)))
    return needs._replace(limit_s=limit_s)


class Computed:
    """What a batch computes."""

    __slots__ = ("_context", "_mix", "_step_s", "chunks", "drafts", "tokens")

    def __init__(self, step_s: StepTime) -> None:
        self._step_s = step_s
        self.chunks: list[Chunk] = []
        self.drafts: dict[int, int] = {}  #: tokens that each request drafts that decodes, by id
        self.tokens = 0
        self._context = 0
        self._mix: dict[int, int] = {}  # how many requests draft how many tokens; empty: none drafts any

    def decode(self, requests: Sequence[RequestView], drafts: Mapping[int, int]) -> None:
        """Let requests decode, and draft so many tokens by id; none of those that are not named."""
        self.tokens += len(requests)
        for request in requests:
            k = self.drafts[request.id] = drafts.get(request.id, 0)
            self._context += request.computed_tokens + 1
            self.tokens += k
        if any(self.drafts.values()):
            self._mix = Counter(self.drafts.values())

    def prefill(self, computed: int, tokens: int) -> None:
        """Compute so many tokens of a prompt, of which so many are computed."""
        self.chunks.append((computed, tokens))
        self.tokens += tokens

    def step_s(
        self,
        chunk: Chunk | None = None,
        decoding: int = 0,
        context_tokens: int = 0,
        drafts: Mapping[int, int] | None = None,
    ) -> float:
        """How long it takes with this much more; with other `drafts` of the requests, by id, where they are given."""
        chunks = self.chunks if chunk is None else [*self.chunks, chunk]
        mix = self._mix if drafts is None else Counter(drafts.values())
        if decoding and mix:
            mix = {**mix, 0: mix.get(0, 0) + decoding}
        return self._step_s(chunks, len(self.drafts) + decoding, self._context + context_tokens, mix)

    def best_drafts(self, acceptance: Mapping[int, Sequence[int]], limit_s: float, budget: int) -> dict[int, int]:
        """Drafts of those that decode: as planned, or so many more of each as yield most in a second, within limits.

        `acceptance`: as of `RequestView`, by id; `budget`: tokens of the batch.
        """
        best, most_per_s = self.drafts, 0.0
        for more in range(max(map(len, acceptance.values()), default=0)):
            drafts = {id: min(k + more, len(acceptance[id]) - 1) for id, k in self.drafts.items()}
            step_s = self.step_s(drafts=drafts)
            per_s = sum(acceptance[id][k] for id, k in drafts.items()) / step_s
            over = step_s > limit_s or len(drafts) + sum(drafts.values()) > budget
            if per_s <= most_per_s or (more and over):
                break
            best, most_per_s = drafts, per_s
        return best


def batch_times(step_s: StepTime, sequences: int, context_tokens: int, most_drafts: int) -> BatchTimes:
    """Time by tokens, on a line: the slope of a prompt alone, and what those that decode now take at least.

    `most_drafts`: how many tokens each may draft. What one of them takes is seen beside a prompt, where verifying it
    costs as much as any token.
    """
    short_s, long_s = (step_s(((0, tokens),), 0, 0, {}) for tokens in (SHORT, LONG))
    token_s = max((long_s - short_s) / (LONG - SHORT), 1e-9)
    base_s = max(short_s - SHORT * token_s, 0.0)
    if sequences:
        base_s = max(base_s, step_s((), sequences, context_tokens, {}) - sequences * token_s)
    if not most_drafts:
        return BatchTimes(base_s, token_s)
    step = ((0, LONG),), sequences or 1, context_tokens or SHORT
    more_s = step_s(*step, {most_drafts: sequences or 1}) - step_s(*step, {})
    return BatchTimes(base_s, token_s, draft_s=max(more_s / most_drafts - (sequences or 1) * token_s, 0.0))


def most_within(limit_s: float, high: int, time_s: Callable[[int], float]) -> int:
    """The largest number from 0 to `high`, which is at least 1, that takes no longer than a limit.

    `time_s` grows. False position: where a line between both ends meets the limit; an end that stays counts half.
    """
    over_s = time_s(high) - limit_s
    if over_s <= 0:
        return high
    low, under_s = 1, time_s(1) - limit_s
    if under_s > 0:
        return 0
    while high - low > 1:
        n = low + int((high - low) * under_s / (under_s - over_s))
        n = min(max(n, low + 1), high - 1)
        beyond_s = time_s(n) - limit_s
        if beyond_s <= 0:
            low, under_s, over_s = n, beyond_s, over_s / 2
        else:
            high, over_s, under_s = n, beyond_s, under_s / 2
    return low
