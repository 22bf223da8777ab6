"""Which requests can still be served within their SLOs: the admission of SLOs-Serve (arXiv 2504.08784).

The time of a batch is taken to be linear in its tokens. Requests that decode belong to *tiers*, by the bound on their
time per token, and by what is accepted of their drafts where they speculate: then batches may be longer. Beside them,
so many tokens of prompts can be computed in a time: the *prefill budget*. Prompts are computed in the order of their
deadlines; a dynamic programme over them finds the most requests whose prompts all fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import floor, inf
from typing import NamedTuple

KEPT = 64  #: kinds of tiers of which the shapes of batches are remembered
ROUNDING = 1e-9  #: relative; of quotients of times
#: how many requests of each tier decode, by the order of the tiers
Counts = tuple[int, ...]


class BatchTimes(NamedTuple):
    """How long batches take: ``max(least_s, base_s + token_s x tokens) + draft_s x depth``."""

    base_s: float
    token_s: float
    least_s: float = 0.0
    draft_s: float = 0.0  #: of each token that is drafted, one after another

    def tokens_within(self, time_s: float, depth: int = 0) -> int:
        """The most tokens, drafted ones included, of a batch that ends within a time and drafts so many in a row."""
        time_s -= depth * self.draft_s
        if time_s < self.least_s * (1 - ROUNDING) or time_s < self.base_s:
            return 0
        return floor((time_s - self.base_s) / self.token_s * (1 + ROUNDING))


class Shape(NamedTuple):
    """Batches as long as those of one tier may be, if it verifies so many tokens of each of its requests."""

    tier: int
    period_s: float
    verified: Counts  #: tokens of a request of each tier in a batch, its drafted ones included; 0: it can't keep up
    every: Counts  #: each tier takes part in every so many batches


@dataclass(frozen=True, slots=True)
class Tiers:
    """Bounds on the time per token, and the batches by which they are kept.

    A tier that verifies s tokens of a request in each batch may have batches of `gains[s - 1]` times its bound. So long
    are they all, for one s of one tier; the others verify as few as keep up, or take part in every so many batches.
    """

    tpot_s: tuple[float, ...]  #: of each tier, ascending
    times: BatchTimes
    #: of each tier: what a batch is expected to yield of a request with 1, 2, ... verified tokens; none: nothing drafts
    gains: tuple[tuple[float, ...], ...] = ()

    def shape(self, decoding: Counts) -> tuple[Shape, float]:
        """The batches in which prompts are computed fastest beside so many that decode, at least one, and how fast.

        In tokens/s; below 0: they are too many. Of equals the shortest.
        """
        best, most = None, -inf
        for shape in shapes(self.tpot_s, self.gains):
            if decoding[shape.tier] and (rate := self._rate(shape, decoding)) > most:
                best, most = shape, rate
        assert best is not None, "the tightest tier that is there keeps up with itself, and the others with it"
        return best, most

    def _rate(self, shape: Shape, decoding: Counts) -> float:
        most = 1
        for count, each in zip(decoding, shape.verified, strict=True):
            if count and not each:
                return -inf
            most = each if count and each > most else most
        tokens: float = self.times.tokens_within(shape.period_s, most - 1)
        for count, each, every in zip(decoding, shape.verified, shape.every, strict=True):
            tokens -= count * each / every
        return tokens / shape.period_s

    def prefill_tokens_per_s(self, decoding: Counts) -> float:
        """How fast prompts are computed beside so many that decode, at least one; below 0: they are too many."""
        return self.shape(decoding)[1]

    def prefill_budget_tokens(self, time_s: float, decoding: Counts) -> float:
        """Tokens of prompts that can be computed in a time beside so many that decode, or in one batch alone.

        Parts of a batch count as well: deadlines may be closer to each other than a batch is long.
        """
        if not any(decoding):
            return self.times.tokens_within(time_s)
        return time_s * self.prefill_tokens_per_s(decoding)


@lru_cache(KEPT)
def shapes(tpot_s: tuple[float, ...], gains: tuple[tuple[float, ...], ...]) -> tuple[Shape, ...]:
    """All kinds of batches of such tiers, the shortest first."""
    bounds = list(zip(tpot_s, gains or ((1.0,),) * len(tpot_s), strict=True))
    made = [_shape(tier, gain * bound_s, bounds) for tier, (bound_s, own) in enumerate(bounds) for gain in own]
    return tuple(sorted(made, key=lambda shape: shape.period_s))


def _shape(tier: int, period_s: float, bounds: Sequence[tuple[float, Sequence[float]]]) -> Shape:
    verified, every = [], []
    for bound_s, gains in bounds:
        enough = (s for s, gain in enumerate(gains, 1) if gain * bound_s >= period_s * (1 - ROUNDING))
        verified.append(s := next(enough, 0))
        every.append(max(1, floor(gains[s - 1] * bound_s / period_s * (1 + ROUNDING))))
    return Shape(tier, period_s, tuple(verified), tuple(every))


class Candidate(NamedTuple):
    """A request whose prompt is not computed yet."""

    id: int
    deadline_s: float  #: of its prompt, seconds from now
    prompt_tokens: int  #: left to compute
    tier: int
    blocks: int  #: KV blocks that it will need beyond those it holds
    stays: bool = False  #: it has been accepted before


class Plan(NamedTuple):
    """The requests that are accepted, of those that had not been before, and what is left of the budget at the end."""

    accepted: frozenset[int]
    budget_tokens: float


REFUSED = Plan(frozenset(), -inf)
#: budget in tokens, KV blocks, ids of the new requests that are accepted
_State = tuple[float, int, tuple[int, ...]]
MOST_ALIKE = 4  #: states of the same counts that are kept where blocks are scarce


def admit(candidates: Sequence[Candidate], decoding: Counts, tiers: Tiers, free_blocks: int) -> Plan:
    """Accept as many candidates as can be served, beside those that decode and those that stay.

    States are told apart by how many decode in each tier; of equal ones that with the largest budget is kept, or, where
    blocks are scarce, the best few by budget and blocks. One that stays and can't be in time no longer is served as
    well as may be, and rules out new ones before it.
    """
    walk = _Walk(tiers, free_blocks, scarce=sum(each.blocks for each in candidates) > free_blocks)
    states: dict[Counts, list[_State]] = {decoding: [(0.0, 0, ())]}
    before_s = 0.0
    for each in sorted(candidates, key=_by_deadline):
        deadline_s = max(each.deadline_s, before_s)
        states = walk.on(states, each, before_s, deadline_s)
        if not states:
            return REFUSED
        before_s = deadline_s
    best = max((state for of_counts in states.values() for state in of_counts), key=_worth)
    return Plan(frozenset(best[2]), best[0])


def _by_deadline(each: Candidate) -> tuple[float, int]:
    return each.deadline_s, each.id


def _worth(state: _State) -> tuple[int, float]:
    return len(state[2]), state[0]


class _Walk:
    """The steps of the dynamic programme, from one deadline to the next."""

    def __init__(self, tiers: Tiers, free_blocks: int, *, scarce: bool) -> None:
        self._tiers = tiers
        self._free_blocks = free_blocks
        self._most = MOST_ALIKE if scarce else 1
        self._rates: dict[Counts, float] = {}  # tokens/s of prompts, by what decodes

    def on(
        self, states: dict[Counts, list[_State]], each: Candidate, before_s: float, now_s: float
    ) -> dict[Counts, list[_State]]:
        """Go to the deadline of a candidate, and leave it out or accept it."""
        following: dict[Counts, list[_State]] = {}
        tier, prompt_tokens, stays = each.tier, each.prompt_tokens, each.stays
        for counts, of_counts in states.items():
            after = (*counts[:tier], counts[tier] + 1, *counts[tier + 1 :])
            possible = stays or self._rate(after) >= 0
            gained, whole = self._gain(counts, before_s, now_s)
            for budget, blocks, accepted in of_counts:
                budget_now = whole if whole is not None else budget + gained
                left, needed = budget_now - prompt_tokens, blocks + each.blocks
                if stays:
                    if left >= 0 or not accepted:
                        self._keep(following, after, (max(left, 0.0), needed, accepted))
                    continue
                self._keep(following, counts, (budget_now, blocks, accepted))
                if possible and left >= 0 and needed <= self._free_blocks:
                    self._keep(following, after, (left, needed, (*accepted, each.id)))
        return following

    def _gain(self, counts: Counts, before_s: float, now_s: float) -> tuple[float, float | None]:
        """What a budget gains between two times; or what it is in all where nothing decodes: one batch, alone."""
        if any(counts):
            return (now_s - before_s) * self._rate(counts), None
        return 0.0, self._tiers.prefill_budget_tokens(now_s, counts)

    def _rate(self, counts: Counts) -> float:
        rate = self._rates.get(counts)
        if rate is None:
            rate = self._rates[counts] = self._tiers.prefill_tokens_per_s(counts)
        return rate

    def _keep(self, states: dict[Counts, list[_State]], counts: Counts, new: _State) -> None:
        """Add a state, unless one of the same counts is as good; drop those that it is as good as, or the worst."""
        known = states.get(counts)
        if known is None:
            states[counts] = [new]
        elif self._most == 1:
            if _worth(new) > _worth(known[0]):
                known[0] = new
        elif not any(_as_good(old, new) for old in known):
            kept = [new, *(old for old in known if not _as_good(new, old))]
            states[counts] = sorted(kept, key=_worth, reverse=True)[: self._most]


def _as_good(one: _State, two: _State) -> bool:
    """Whether a state has at least the budget of another, with no more blocks; both have accepted as many."""
    return one[0] >= two[0] and one[1] <= two[1]
