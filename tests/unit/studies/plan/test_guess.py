"""What one instance can do at most: a server whose service time is known, and loads of which a crowd says nothing."""

from __future__ import annotations

import math

import pytest

from llmsim.scenario import load_scenario
from llmsim.studies.plan.candidates import Candidate
from llmsim.studies.plan.guess import Most, most_per_instance
from llmsim.studies.plan.loads import load_of

#: steps of 10 ms: two seats, and 20 tokens take 20 of them, one prompt in the first
SEATS = [
    "cluster.latency={name='constant', step_s=0.01}",
    "scheduler.max_num_seqs=2",
    "workload.lengths={source='fixed', prompt_tokens=100, output_tokens=20}",
    "workload.arrivals={process='poisson', rate_per_s=4.0}",
]


def most(*changes: str) -> Most | None:
    scenario = load_scenario("quickstart", [*SEATS, *changes])
    return most_per_instance(Candidate(scenario, 1.0, load=load_of(scenario)))


def test_two_seats_finish_two_requests_in_the_time_of_one() -> None:
    found = most()

    assert found is not None
    assert found.rate_per_s == pytest.approx(2 / 0.2, rel=0.01)
    assert found.rate_per_s <= found.upper_per_s <= 1.02 * found.rate_per_s
    assert found.overloads(3, 30.9)
    assert not found.overloads(3, 29.9)
    assert "they finish 30/s" in found.evidence(3, 31.0).reason
    assert found.binding.seats_full > 0.95


def test_drawn_lengths_make_the_upper_end_wider() -> None:
    drawn = (
        "workload.lengths={source='lognormal', prompt_mean_tokens=100, prompt_cv=0.5, output_mean_tokens=20, "
        "output_cv=1.0}"
    )
    found = most(drawn)

    assert found is not None
    assert found.upper_per_s > 1.02 * found.rate_per_s
    assert found.rate_per_s < 10 < found.upper_per_s * 1.2


@pytest.mark.parametrize(
    "changes",
    [
        ["scheduler={name='shortest_predicted_first', max_num_seqs=2}", "prediction={predictor='oracle'}",
         "workload.lengths={source='sharegpt'}"],
        ["abandonment={policy='missed'}", "slo.ttft_s=0.5"],
        ["cluster.prefix_caching=true", "workload.prefixes={system_prompts=2, system_tokens=64}"],
    ],
)  # fmt: skip
def test_a_crowd_that_is_served_otherwise_bounds_nothing(changes: list[str]) -> None:
    found = most(*changes)

    assert found is not None
    assert found.upper_per_s == math.inf
    assert not found.overloads(1, 1e9)


def test_users_who_wait_for_their_answers_are_no_crowd() -> None:
    assert most("workload.arrivals={process='closed', concurrency=4}") is None


def test_one_instance_tells_nothing_of_several_that_are_split_by_length() -> None:
    """Static batches of short requests alone last as long as these: two such instances carry more than two of all."""
    assert most("router.name='length_split'") is None


@pytest.mark.parametrize(("split", "pool"), [("1P3D", "prefill"), ("3P1D", "decode")])
def test_of_pools_the_one_that_is_too_small_binds(split: str, pool: str) -> None:
    """Steps of 10 ms, 0.1 ms more a prompt token: 4 prompts take 410 ms; decode's 4 seats carry 4 / 0.99 s a second."""
    prefill, decode = split[0], split[2]
    scenario = load_scenario(
        "disaggregated",
        [
            "cluster.latency={name='constant', step_s=0.01, prefill_token_s=0.0001}",
            "workload.lengths={source='fixed', prompt_tokens=1000, output_tokens=100}",
            f"pool.0.instances={prefill}", f"pool.1.instances={decode}", "scheduler.max_num_seqs=4",
            "workload.requests=300",
        ],
    )  # fmt: skip
    found = most_per_instance(Candidate(scenario, 1.0, load=load_of(scenario)))

    assert found is not None
    assert found.binding.pool == pool
    assert found.rate_per_s == pytest.approx(4 / 0.41 if pool == "prefill" else 4 / 0.99, rel=0.03)
    assert f"pool {pool}: prefill takes" in str(found.binding)
