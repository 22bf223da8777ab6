"""Claim 12: how it is judged, on numbers that are made up."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.figures import speculation
from llmsim.figures.plan import Sweep

#: mean TPOT of each kind of drafting without load, in ms
ALONE = {
    "none": 10.0, "1 draft": 6.0, "3 drafts": 4.0, "5 drafts": 3.9, "by goodput": 3.9, "few accepted": 9.0,
    "few, by goodput": 9.0,
}  # fmt: skip


#: and how it grows with the rate: without drafts the instance saturates first
WITHOUT, FEW, WITH = (
    np.array(rows)[:, None] for rows in ([1, 1.1, 1.2, 3, 2.2], [1, 1.1, 1.2, 3.6, 2.6], [1, 1.05, 1.1, 1.6, 5.5])
)
GROWS = {"none": WITHOUT, "few accepted": FEW, "few, by goodput": np.minimum(FEW, 1.09 * WITHOUT)}


def made_up(**changes):
    """Sweeps that show the claim, but for what is changed of one kind: ``few_accepted={"throughput": 110.0}``."""
    sweeps = {}
    for (kind, tpot), plan in zip(ALONE.items(), speculation.plans(True), strict=True):
        noise = np.linspace(0.99, 1.01, plan.seeds)[None, :] * np.ones((len(plan.loads), 1))
        values = {"tpot_s_mean": tpot, "tbt_s_p50": 10.0, "tbt_s_p99": 10.0 if kind == "none" else 12.0}
        values["throughput"] = 90.0 if kind == "few accepted" else 100.0
        values |= changes.get(kind.replace(" ", "_").replace(",", ""), {})
        values["tpot_s_mean"] = values["tpot_s_mean"] * GROWS.get(kind, WITH)
        sweeps[plan] = Sweep(plan, {name: value * noise for name, value in values.items()})
    return sweeps


@pytest.mark.parametrize(
    ("changes", "holds", "says"),
    [
        ({}, True, "mean TPOT is 2.50 ± 0.00 times shorter with three drafts"),
        ({"3_drafts": {"tpot_s_mean": 6.0}}, False, "mean TPOT is 1.67"),
        ({"3_drafts": {"tbt_s_p99": 9.0}}, False, "0.90 to 0.90 times as long"),
        ({"few_accepted": {"throughput": 110.0}}, False, "changes by 10"),
        ({"few_accepted": {"tpot_s_mean": 12.0}, "few_by_goodput": {"tpot_s_mean": 9.0}}, False, "0.83"),
        ({"by_goodput": {"tpot_s_mean": 4.1}}, False, "at most 5.1 % above"),
        ({"few_by_goodput": {"tpot_s_mean": 9.4}}, False, "4.4 % where few"),
        ({"3_drafts": {"tpot_s_mean": 4.0 * WITHOUT / WITH}}, False, "2.50 and 1.11 at 0.24 (1,000."),
        ({"few_accepted": {"tpot_s_mean": 9.0 * WITHOUT / FEW}}, False, "2.50 and 1.11 at 0.24"),
    ],
)
def test_the_claim_is_what_its_parts_are(changes, holds, says):
    claim = speculation.make(made_up(**changes), True).claim
    assert claim.passed is holds
    assert any(says in text for text in claim.evidence), claim.evidence


def test_the_gain_of_a_step_falls_with_the_batch_and_below_one_where_few_drafts_are_accepted():
    """Of 1 and 128 sequences NEXT_SYSTEMS 1.5 has 2.32 and 1.89, of 2.76 tokens a step in place of 2.88."""
    steps = {kind: speculation.speed_ups(speculation.KINDS[kind]) for kind in speculation.STEPS}
    holds, text = speculation._by_batch(steps)
    many, few = steps.values()
    rising = {kind: gain[::-1] for kind, gain in steps.items()}

    assert holds, text
    assert many[[0, 7]] * 2.76 / 2.88 == pytest.approx([2.32, 1.89], rel=0.06)
    assert (few[0], few[7]) == pytest.approx((many[0] * 1.3 / 2.88, many[7] * 1.3 / 2.88))
    assert not speculation._by_batch(rising)[0]
    assert not speculation._by_batch({"3 drafts": few, "few accepted": few})[0]
    assert not speculation._by_batch({"3 drafts": many, "few accepted": many})[0]


def test_of_experts_gains_have_an_inner_minimum_and_an_inner_maximum():
    holds, text = speculation._experts(speculation.speed_ups_of_experts())
    assert holds, text
    assert not speculation._experts(np.linspace(1, 2, 11))[0]
    assert not speculation._experts(np.linspace(2, 1, 11))[0]
