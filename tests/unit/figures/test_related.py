"""Figures of other papers, and of how long one measures: what they say of numbers that are made up."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.figures import how_long, make, numbers, ranking, routing, slos_serve, slos_serve_drafts, tenants
from llmsim.figures import plan as plans
from llmsim.figures.numbers import measure
from llmsim.figures.plan import Sweep
from llmsim.metrics.smooth_goodput import User, smooth_goodput_tokens_per_s
from llmsim.scenario import load_scenario, scenario_names


def fake(plan, **values):
    """A sweep whose values are functions of the rates, the same for each seed but for a little."""
    rates = plan.rates_per_s
    spread = 1 + 1e-3 * np.arange(plan.seeds)
    return Sweep(plan, {name: np.outer(of(rates), spread) for name, of in values.items()})


def test_their_settings_are_shipped_scenarios():
    assert {f"related/{name}" for name in plans.RELATED} <= scenario_names().keys()


def test_groups_are_figures_and_the_papers_own_are_made_without_a_name():
    assert make.GROUPS["related"] == (
        "slos_serve",
        "slos_serve_drafts",
        "tenants",
        "how_long",
        "speculation",
        "adaserve",
        "routing",
    )
    assert set().union(*make.GROUPS.values(), make.ALONE) == set(make.FIGURES)
    assert sum(map(len, make.GROUPS.values())) + len(make.ALONE) == len(make.FIGURES)
    with pytest.raises(InputError, match="unknown figure 'relatd'; did you mean 'related'"):
        make.make_figures(["relatd"])


def test_numbers_of_classes_are_those_of_the_score():
    scenario = load_scenario("related/tight_decode", ["workload.requests=40"])
    found, score = measure(scenario, delayed=False), experiment.run(scenario).score

    assert found["own_attainment"] == score["together.attainment"]
    assert found["own_smooth_goodput_tokens_per_s"] == score["together.smooth_goodput_tokens_per_s"]
    assert found["gap_tokens"] == score["fairness.largest_gap_tokens"]


@pytest.mark.parametrize(("falls", "bursts_fall", "verge_falls"), [(1, 0, 0), (0, 0, 0), (1, 1, 0), (1, 0, 1)])
def test_the_peak_falls_to_capacity_as_the_run_grows_longer_and_two_forms_stay(falls, bursts_fall, verge_falls):
    """Peaks at 5, 4.6, 4.3 and 3.3 requests/s, or at 5 always; bursts and what is steady stay as they are, or fall."""
    found, top = {}, dict(zip(how_long.HORIZONS_S, (5.0, 4.6, 4.3, 3.3), strict=True))
    for place, plan in enumerate(how_long.plans(True)):
        longer = place % len(top)
        peak = top[how_long.HORIZONS_S[longer]] if falls else 5.0
        worth = 1 - 0.1 * longer * (bursts_fall if place >= len(top) else verge_falls)
        found[plan] = fake(
            plan,
            tokens_arrivals=lambda rates, peak=peak, worth=worth: np.where(
                rates < 3.3, 500 * worth, 1000 - 900 * (rates - peak) ** 2
            ),
            idle_5_arrivals=np.zeros_like,
            requests_per_s=lambda rates: np.full_like(rates, 3.3),
            steady=lambda rates: (rates < 3.3).astype(float),
        )
    made = how_long.make(found, True)

    assert made.claim.passed is bool(falls and not (bursts_fall or verge_falls))
    assert "at 3.2 requests/s, the highest rate with steady runs" in made.claim.evidence[-1]
    assert "capacity: 3.30 ± 0.0" in made.claim.evidence[1]


@pytest.mark.parametrize(("gap", "passed"), [(30_000.0, True), (41_000.0, False)])
def test_gaps_are_compared_with_the_bound(gap, passed):
    found = {}
    for plan in tenants.plans(True):
        own = gap if plan.policy in tenants.FAIR else 5_000 * plan.horizon_s
        found[plan] = fake(
            plan,
            gap_tokens=lambda rates, own=own: np.full_like(rates, own),
            jain=np.ones_like,
            throughput=lambda rates: np.full_like(rates, 900.0),
        )

    assert tenants.make(found, True).claim.passed is passed


def attained(plan, at):
    """Attainment that falls through 90 % at a multiple of the setting's rate."""
    rate = at * plans.RELATED[plan.setting]
    return lambda rates: np.clip(0.9 - 0.2 * (rates / rate - 1), 0, 1)


@pytest.mark.parametrize(("ours", "passed"), [(1.5, True), (1.2, False)])
def test_capacities_are_where_attainment_falls_through_90_percent(ours, passed):
    found = {}
    for plan in slos_serve.plans(True):
        at = 1.0
        if plan.policy == slos_serve.OURS and plan.setting != slos_serve.LOOSE:
            at = 2.1 * ours if plan.changes == slos_serve.TWO else ours
        smooth = {"own_smooth_goodput_tokens_per_s": np.negative, "throughput": np.ones_like}
        smooth["requests_per_s"] = lambda rates: np.minimum(rates, 5.0)
        found[plan] = fake(plan, own_attainment=attained(plan, at), **smooth)
    alone = next(sweep for plan, sweep in found.items() if plan.policy == slos_serve.OURS)
    made = slos_serve.make(found, True).claim

    assert slos_serve.capacity_per_s(alone) == pytest.approx(ours * plans.RELATED["tight_decode"], rel=0.01)
    assert made.passed is passed
    assert made.evidence[-1].startswith("two instances with first_feasible")
    assert "where at most 5.00 are finished" in made.limits[-2]


@pytest.mark.parametrize(
    ("ours", "without", "fixed", "later", "passed"),
    [(2.6, 0.9, 1.5, 1.5, True), (2.6, 2.1, 1.5, 1.5, False), (2.6, 0.9, 2.1, 1.5, False), (2.6, 0.9, 1.5, 1.3, False)],
)
def test_planned_drafts_are_compared_with_none_and_with_a_fixed_number(ours, without, fixed, later, passed):
    found, kinds = {}, [*slos_serve_drafts.KINDS, "later", "later without"]
    at = {slos_serve_drafts.OURS: ours, slos_serve_drafts.WITHOUT: without, "later": later / 1.5, "later without": 1.0}
    for kind, plan in zip(kinds, slos_serve_drafts.plans(True), strict=True):
        smooth = {"own_smooth_goodput_tokens_per_s": np.negative, "throughput": np.ones_like}
        found[plan] = fake(plan, own_attainment=attained(plan, at.get(kind, fixed)), **smooth)
    claim = slos_serve_drafts.make(found, True).claim

    assert claim.passed is passed
    assert f"x the best other's (chunked, 2048, 3 drafts, {fixed:.1f}" in claim.evidence[0]


def test_pairs_flip_where_two_metrics_order_them_oppositely():
    """By hand: the later a policy stands in the list, the more throughput and the more stall time it has."""
    found = {}
    for plan in ranking.plans(True):
        place = ranking.POLICIES.index(plan.policy)
        values = {
            name: (lambda rates, place=place: np.full_like(rates, 1.0 + place))
            for name in (name for name, _ in ranking.METRICS.values())
        }
        values |= {
            choice.key: (lambda rates, place=place: np.full_like(rates, 9.0 - place)) for choice in numbers.CHOICES
        }
        if plan.policy == ranking.POLICIES[-1]:  # the last of all, but by readers of 30 tokens/s the first
            values["smooth_30_2.5_linear_arrival"] = lambda rates: np.full_like(rates, 99.0)
        found[plan] = fake(plan, **values, tokens_arrivals=lambda rates, place=place: np.full_like(rates, 9.0 - place))
    claim = ranking.make(found, True).claim
    pairs, with_last = 28 * len(ranking.LOADS) * 2, 7 * len(ranking.LOADS) * 2

    assert f"against users' stall time: throughput {pairs} of {pairs}" in claim.evidence[4]
    assert f"smooth goodput 0 of {pairs}" in claim.evidence[4]
    assert f"best by throughput: ShareGPT, Llama-3.1-8B {ranking.POLICIES[-1]} at 0.6" in claim.evidence[6]
    assert "best by smooth goodput: ShareGPT, Llama-3.1-8B prefill first at 0.6" in claim.evidence[8]
    assert f"V (5.0): 20.0 0 of {pairs}, 30.0 {with_last} of {pairs}; alpha" in claim.limits[0]
    assert "give 2 different rows of winners" in claim.limits[0]
    assert claim.passed


def test_a_choice_of_smooth_goodput_is_the_metrics_own():
    scenario = load_scenario("paper/sharegpt_llama", ["workload.requests=60", "window={}"])
    found, delivered = measure(scenario, delayed=False, forms=True), experiment.run(scenario).delivered

    for choice in numbers.CHOICES[::7]:
        user = User(choice.tokens_per_s, choice.alpha, choice.anchor, penalty=choice.penalty)
        assert found[choice.key] == pytest.approx(smooth_goodput_tokens_per_s(delivered, user))


def test_forms_of_other_papers_in_a_run():
    changes = ["workload.requests=60", "window={}"]
    found = measure(load_scenario("paper/sharegpt_llama", changes), delayed=False, forms=True)

    assert {name for name in found if name.startswith("form_")} == {
        "form_stages", "form_jitserve", "form_aegaeon", "form_qoe", "form_fluidity"
    }  # fmt: skip
    assert 0 <= found["form_stages"] <= 1


def answered(change, good):
    """What a made-up router of two models has: small 0.6, large 0.9, all others 0.72 but for a cascade."""
    if "cascade" in change:
        quality = 0.72 if "judge_error=0.5" in change else good
        return {"quality": quality, "late": 0.3, "answers_small": 1.0, "answers_large": 0.4}
    large = 0.0 if "{small=1.0}" in change else 1.0 if "{large=1.0}" in change else 0.4
    quality = {0.0: 0.6, 1.0: 0.9}.get(large, 0.72)
    return {"quality": quality, "late": 0.0, "answers_small": 1.0 - large, "answers_large": large}


@pytest.mark.parametrize(("good", "passed"), [(0.80, True), (0.70, False)])
def test_a_cascade_is_held_against_a_random_mix_of_its_cost(good, passed):
    """By hand: models cost 0.1 and 1.0; at the cascade's cost of 0.5 a random mix of them is right in 0.733."""
    found = {}
    for plan in routing.plans(True):
        values = answered(plan.changes[0], good)
        crowded = 0.4 * values["answers_large"] * (np.array(plan.loads) > 1)
        values |= {"quality_in_slo": values["quality"] - values.pop("late") - crowded}
        values |= {"gpu_s": 0.1 if values["answers_large"] == 0 else 1.0, "attainment": 1.0, "ttft_s_mean": 1.0}
        shape = (len(plan.loads), plan.seeds)
        found[plan] = Sweep(
            plan, {n: np.broadcast_to(np.transpose([v * np.ones(shape[0])]), shape) for n, v in values.items()}
        )

    assert routing.make(found, True).claim.passed is passed
