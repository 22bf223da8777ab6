"""Routers between models: RouterBench's plane by hand (arXiv 2403.12031), and shares and qualities in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.scenario import load_scenario
from llmsim.statistics.cost_quality import aiq, aiq_of_the_code, area, hull, quality_at

MODELS = [(0.1, 0.6), (1.0, 0.9)]
SMALL, LARGE = 0.6, 0.9  #: skills
REQUESTS = 3000
#: standard errors that a share of so many requests may be away
SURE = 4.5 * np.sqrt(0.25 / REQUESTS)


def run(router, *changes, **options):
    fixed = ["quality.noise=0.0", f"workload.requests={REQUESTS}", "workload.arrivals.rate_per_s=60"]
    short = "workload.lengths={source='fixed', prompt_tokens=100, output_tokens=8}"
    given = [*fixed, short, f"router={router}", *changes]
    return experiment.run(load_scenario("related/routing", given), **options)


def test_the_area_and_both_averages_of_two_models():
    """By hand: (0.6 + 0.9) / 2 x 0.9 = 0.675; over 0.9 in the paper, over 1.0 in its code."""
    assert area(MODELS, 0.1, 1.0) == pytest.approx(0.675)
    assert aiq(MODELS, 0.1, 1.0) == pytest.approx(0.75)
    assert aiq_of_the_code(MODELS, 0.1, 1.0) == pytest.approx(0.675)


def test_points_below_the_hull_change_nothing_and_one_above_does():
    below, above = (0.5, 0.7), (0.3, 0.85)

    assert hull([*MODELS, below, (0.2, 0.5)]) == MODELS
    assert hull([*MODELS, above]) == [MODELS[0], above, MODELS[1]]
    assert quality_at(MODELS, [0.05, 0.55, 2.0]) == pytest.approx([np.nan, 0.75, 0.9], nan_ok=True)


@pytest.mark.parametrize("error", [0.0, 0.2])
def test_a_cascade_has_the_quality_and_passes_on_as_many_as_the_judge_lets_it(error):
    """Right at once and let pass, or sent on and right: s1 + (s2 - s1)(1 - e); sent on: s1 e + (1 - s1)(1 - e)."""
    score = run(f"{{name='cascade', pools=['small','large'], judge_error={error}}}").score["quality"]

    assert score["mean"] == pytest.approx(SMALL + (LARGE - SMALL) * (1 - error), abs=SURE)
    assert score["passed_on"] == pytest.approx(SMALL * error + (1 - SMALL) * (1 - error), abs=SURE)
    assert score["answers_of"] == {"small": 1.0, "large": pytest.approx(score["passed_on"])}


def test_a_router_that_knows_has_the_quality_of_the_best_model_and_asks_it_no_more_than_needed():
    score = run("{name='threshold', pools=['small','large'], threshold=0.5}", "quality.prediction_error=0").score

    assert score["quality"]["mean"] == pytest.approx(LARGE, abs=SURE)
    assert score["quality"]["answers_of"]["small"] == pytest.approx(SMALL, abs=SURE)


def test_random_mixes_lie_on_the_line_between_the_models():
    score = run("{name='mixture', shares={small=1, large=3}}").score["quality"]

    assert score["answers_of"]["large"] == pytest.approx(0.75, abs=SURE)
    assert score["mean"] == pytest.approx(quality_at([(0, SMALL), (1, LARGE)], [0.75])[0], abs=2 * SURE)


def test_what_is_passed_on_waits_for_both_answers_and_in_stretches_as_step_by_step():
    cascade = "{name='cascade', pools=['small','large'], judge_error=0.3, judge_s=2.0}"
    result, stepwise = (run(cascade, "workload.requests=200", stepwise=each) for each in (False, True))
    requests = result.record.requests
    again = requests["attempt"] == 1
    first = dict(zip(requests["request"][~again], requests["end_s"][~again], strict=True))

    assert again.any()
    assert requests["arrival_s"][again] == pytest.approx([first[r] + 2.0 for r in requests["request"][again]])
    for name, column in requests.items():
        np.testing.assert_array_equal(column, stepwise.record.requests[name], err_msg=name)
    assert result.score["requests"]["total"] <= 200


def test_a_retry_of_what_was_turned_away_is_no_answer_passed_on():
    crowd = ["workload.requests=60", "gateway={max_concurrency=4, max_queue=0}", "retries.max_attempts=3"]
    result = run("{name='threshold', pools=['small','large']}", *crowd)

    assert result.record.requests["attempt"].any()
    assert result.score["quality"]["passed_on"] == 0


def test_quality_may_be_columns_of_the_trace(tmp_path):
    """By hand: 8B is told 0.25 and 1, 70B 0.75 and 0.5; the threshold of 0.5 sends the first request to 70B."""
    trace = tmp_path / "two.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens,a,b\n0.0,10,2,0.25,0.75\n1.0,10,2,1.0,0.5\n")
    columns = "quality={columns={'llama-3.1-8b'='a', 'llama-3.1-70b'='b'}}"
    changes = [f"workload={{trace='{trace}'}}", columns, "router={name='threshold', pools=['small','large']}"]
    result = experiment.run(load_scenario("related/routing", changes))

    assert result.record.requests["instance"].tolist() == [1, 0]
    assert result.record.requests["quality"].tolist() == [0.75, 1.0]
    assert result.score["quality"]["mean"] == 0.875
    experiment.check(load_scenario("related/routing", changes))
    twice = experiment.run(load_scenario("related/routing", [*changes, "workload.superpose=2"]))
    assert sorted(twice.record.requests["quality"]) == [0.75, 0.75, 1.0, 1.0]

    trace.write_text("arrival_s,prompt_tokens,output_tokens,a,b\n0.0,10,2,0.25,1.75\n")
    with pytest.raises(InputError, match=r"line 2: b is '1.75', expected what an answer is worth, from 0 to 1"):
        experiment.run(load_scenario("related/routing", changes))


CASCADE = "router={name='cascade', pools=['small','large']}"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["quality=null"], "router: threshold goes by how good answers are, and there is no .quality."),
        (["router={name='threshold'}"], "expected router.pools, the cheapest first, of small, large"),
        (["router.pools=['small']"], "expected two or more, each once"),
        (["router.pools=['small','big']"], "router.pools: no ..pool.. is named 'big'"),
        (["quality.skill={'llama-3.1-8b'=0.5}"], "skill: says nothing of llama-3.1-70b, which pool 'large' serves"),
        (["quality.skill.'qwen3-8b'=0.5"], "quality.skill: no pool serves 'qwen3-8b'"),
        (["quality={columns={'llama-3.1-8b'='a', 'llama-3.1-70b'='b'}}"], "those of a trace, and no trace is read"),
        (["quality={prediction_error=0.1}"], "expected skill or columns: how good each model's answers are"),
        ([CASCADE, "retries.max_attempts=2"], "retries: cascade answers each request to the end"),
        ([CASCADE, "until_s=10"], "until_s: cascade answers each request to the end"),
    ],
)
def test_what_does_not_go_together_is_told(changes, says):
    with pytest.raises(InputError, match=says):
        experiment.check(load_scenario("related/routing", changes))


def test_prompts_are_handed_over_between_instances_of_one_model_only():
    with pytest.raises(InputError, match=r"pool 'decode' qwen3-8b auto: prompts are handed over .* of one model"):
        load_scenario("disaggregated", ["pool.decode.model=qwen3-8b"])
