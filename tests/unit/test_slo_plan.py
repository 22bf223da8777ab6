"""SLOs-Serve's budgets and admission: the vectors of NEXT_SYSTEMS section 4, and every choice tried."""

from __future__ import annotations

from itertools import combinations, product
from math import floor, inf

import numpy as np
import pytest

from llmsim.slo_plan import REFUSED, BatchTimes, Candidate, Tiers, admit

TIMES = BatchTimes(0.005, 0.0001, 0.020)
TIERS = Tiers((0.05, 0.1), TIMES)
A, B = Candidate(0, 0.3, 1200, 0, 80), Candidate(1, 0.4, 2600, 1, 170)
C, D = Candidate(2, 0.6, 1500, 0, 100), Candidate(3, 1.0, 3000, 1, 190)


def test_tokens_of_a_batch():
    assert [TIMES.tokens_within(time_s) for time_s in (0.025, 0.05, 0.1)] == [200, 450, 950]
    assert TIMES.tokens_within(0.019) == 0


def test_prefill_budgets():
    assert TIERS.prefill_budget_tokens(1.0, (4, 6)) == pytest.approx(20 * 450 - (80 + 60))
    assert TIERS.prefill_budget_tokens(1.0, (0, 10)) == pytest.approx(9400)
    assert TIERS.prefill_budget_tokens(1.0, (0, 0)) == pytest.approx(9950)


def test_all_four_fit_in_unlimited_memory():
    plans = [admit([A, B, C, D][:n], (0, 0), TIERS, 10_000) for n in (1, 2, 3, 4)]

    assert [plan.budget_tokens for plan in plans] == pytest.approx([1750, 48, 342, 922])
    assert plans[-1].accepted == {0, 1, 2, 3}


def test_three_fit_in_400_blocks():
    """ABC or ACD, and of these the one that leaves more by D's deadline: ABC. Never ABD or BCD."""
    assert admit([D, B, C, A], (0, 0), TIERS, 400).accepted == {0, 1, 2}
    assert admit([A, C, D], (0, 0), TIERS, 400).budget_tokens == pytest.approx(3528)
    assert len(admit([A, B, D], (0, 0), TIERS, 400).accepted) == len(admit([B, C, D], (0, 0), TIERS, 400).accepted) == 2
    assert admit([A, C], (0, 0), TIERS, 400).budget_tokens == pytest.approx(2944)
    assert admit([A, B, C], (0, 0), TIERS, 400).accepted == {0, 1, 2}


def test_what_stays_rules_out_what_would_make_it_late():
    """B needs 2,600 tokens by 0.4 s, of 3,950 in a batch: beside A they fit, beside a longer one not."""
    stays, longer = B._replace(stays=True), A._replace(prompt_tokens=1300)

    assert admit([A, stays], (0, 0), TIERS, 10_000).accepted == {0}
    assert admit([longer, stays], (0, 0), TIERS, 10_000).accepted == frozenset()


def test_one_that_stays_and_is_late_is_served_all_the_same():
    late = Candidate(0, 0.1, 5000, 0, 0, stays=True)

    assert admit([late], (0, 0), TIERS, 100).accepted == frozenset()
    assert admit([late, D], (0, 0), TIERS, 1000).accepted == {3}


def test_none_is_accepted_where_those_that_decode_fill_every_batch():
    assert admit([A], (450, 0), TIERS, 1000) == admit([], (450, 0), TIERS, 1000)._replace(
        budget_tokens=pytest.approx(0)
    )


@pytest.mark.parametrize("seed", range(40))
def test_no_other_choice_accepts_more(seed):
    """Against every subset, each checked by walking through its deadlines."""
    rng = np.random.default_rng(seed)
    decoding = (int(rng.integers(0, 3)), int(rng.integers(0, 3)))
    candidates = [
        Candidate(i, float(rng.choice([0.2, 0.35, 0.5, 1.0])), int(rng.integers(200, 3000)), int(rng.integers(0, 2)),
                  int(rng.integers(10, 90)), stays=bool(rng.random() < 0.2))
        for i in range(7)
    ]  # fmt: skip
    free_blocks = int(rng.integers(60, 400))
    plan = admit(candidates, decoding, TIERS, free_blocks)
    new = [each for each in candidates if not each.stays]
    stay = [each for each in candidates if each.stays]
    possible = [
        subset
        for n in range(len(new) + 1)
        for subset in combinations(new, n)
        if fits(subset, stay, decoding, free_blocks)
    ]

    assert plan != REFUSED
    assert len(plan.accepted) == max(map(len, possible))
    assert plan.accepted in [{each.id for each in subset} for subset in possible]


def fits(subset, stay, decoding, free_blocks):
    counts, budget, before_s, accepted, blocks = list(decoding), 0.0, 0.0, 0, 0
    for each in sorted([*subset, *stay], key=lambda each: (each.deadline_s, each.id)):
        if any(counts):
            budget += TIERS.prefill_budget_tokens(each.deadline_s - before_s, tuple(counts))
        else:
            budget = TIERS.prefill_budget_tokens(each.deadline_s, tuple(counts))
        before_s = each.deadline_s
        budget -= each.prompt_tokens
        blocks += each.blocks
        counts[each.tier] += 1
        if each.stays:
            if budget < 0 and accepted:
                return False
            budget = max(budget, 0.0)
        else:
            accepted += 1
            if budget < 0 or blocks > free_blocks or TIERS.prefill_tokens_per_s(tuple(counts)) < 0:
                return False
    return True


#: tokens that a batch yields with 1, 2, ... verified, each draft accepted with probability 0.7 after those before it
GAINS = tuple(sum(0.7**i for i in range(s)) for s in range(1, 11))


def test_batches_that_draft_by_hand():
    """Ten requests at 50 ms a token; a batch takes 40 ms, 0.1 ms a token and 5 ms a draft.

    Of 1 token each it may last 50 ms, of 2 to 5 tokens 1.7, 2.19, 2.533 and 2.7731 times as long. So it has room for
    100, 400, 595, 716 and 786 tokens, 10, 20, 30, 40 and 50 of them verified: prompts get 1800, 4471, 5160, 5338 and
    5308 tokens/s.
    """
    shape, per_s = Tiers((0.05,), BatchTimes(0.04, 0.0001, draft_s=0.005), (GAINS,)).shape((10,))

    assert (shape.verified, shape.every) == ((4,), (1,))
    assert shape.period_s == pytest.approx(2.533 * 0.05)
    assert per_s == pytest.approx(676 / 0.12665)
    assert Tiers((0.05,), BatchTimes(0.04, 0.0001)).prefill_tokens_per_s((10,)) == pytest.approx(1800)


@pytest.mark.parametrize("seed", range(40))
def test_no_other_drafts_leave_more_for_prompts(seed):
    """Against every number of drafts of every tier: a batch as long as the first of them that needs its next tokens."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 4))
    tpot_s = tuple(sorted(rng.choice([0.02, 0.03, 0.05, 0.1, 0.15], n).tolist()))
    rates = rng.uniform(0.2, 0.95, n)
    gains = tuple(tuple(float(sum(rate**i for i in range(s))) for s in range(1, 6)) for rate in rates)
    times = BatchTimes(rng.uniform(0.0, 0.03), 0.0001, draft_s=float(rng.choice([0.0, 0.002])))
    decoding = tuple(int(x) for x in rng.integers(0, 20, n))
    decoding = decoding if any(decoding) else (*decoding[:-1], 3)
    there = [i for i in range(n) if decoding[i]]
    best = max(
        prompts_per_s([(decoding[i], s, gains[i], tpot_s[i]) for i, s in zip(there, each, strict=True)], times)
        for each in product(range(1, 6), repeat=len(there))
    )

    assert Tiers(tpot_s, times, gains).prefill_tokens_per_s(decoding) == pytest.approx(best)


def prompts_per_s(tiers, times):
    """Tokens/s; none counts that verifies more than it must."""
    period_s = min(gains[s - 1] * tpot_s for _, s, gains, tpot_s in tiers)
    if any(s > 1 and gains[s - 2] * tpot_s >= period_s for _, s, gains, tpot_s in tiers):
        return -inf
    tokens = times.tokens_within(period_s, max(s for _, s, _, _ in tiers) - 1)
    used = [count * s / floor(gains[s - 1] * tpot_s / period_s * (1 + 1e-9)) for count, s, gains, tpot_s in tiers]
    return (tokens - sum(used)) / period_s
