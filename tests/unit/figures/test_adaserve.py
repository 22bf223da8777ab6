"""Claim 17: how it is judged, on numbers that are made up."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.figures import adaserve
from llmsim.figures.plan import Sweep

#: share within their SLO at the lowest rate, and what they lose up to the highest one
FALLS = {
    "AdaServe": 0.2,
    "4 drafts": 0.4,
    "6 drafts": 0.5,
    "8 drafts": 0.8,
    "chunked prefill": 0.7,
    "prefill first": 0.8,
}


def made_up(falls=None, lengths=None):
    """Sweeps that show the claim, but for what is changed of one kind."""
    sweeps = {}
    for kind, plan in zip([*FALLS, *adaserve.BUDGETS], adaserve.plans(True), strict=True):
        down = np.linspace(0, 1, len(plan.loads))[:, None] * np.ones((1, plan.seeds))
        noise = np.linspace(-0.001, 0.001, plan.seeds)
        share = 0.9 - down * (FALLS | (falls or {})).get(kind, 0.3) + noise * (1 if kind == "AdaServe" else -1)
        length = ({"AdaServe": 3.0 - down} | (lengths or {})).get(kind, 3.0 + 0 * down)
        sweeps[plan] = Sweep(
            plan, {"own_attainment": share, "own_goodput_tokens_per_s": 100 * share, "acceptance_length": length}
        )
    return sweeps


RISING = np.linspace(2, 3, len(adaserve.QUICK_RATES))[:, None] * np.ones((1, 3))


@pytest.mark.parametrize(
    ("changes", "holds", "says"),
    [
        ({}, True, "AdaServe 70.0, 4 drafts 50.0, 6 drafts 40.0, 8 drafts 10.0"),
        ({"falls": {"4 drafts": 0.1}}, False, "points above the best fixed number"),
        ({"falls": {"chunked prefill": 0.3}}, False, "chunked prefill 60.0"),
        ({"falls": {"AdaServe": 0.4, "4 drafts": 0.4}}, False, "lead over the best fixed number, points: "),
        ({"lengths": {"AdaServe": RISING}}, False, "tokens that a step yields of a request: 2.00 at 2.4"),
        ({"lengths": {"6 drafts": RISING}}, False, "of a fixed number they vary by 40.0 %"),
    ],
)
def test_the_claim_is_what_its_parts_are(changes, holds, says):
    claim = adaserve.make(made_up(**changes), True).claim
    assert claim.passed is holds
    assert any(says in text for text in claim.evidence), claim.evidence
