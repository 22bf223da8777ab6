"""What no number of instances can do, on a server whose unloaded latencies are known by hand."""

from __future__ import annotations

import pytest

from llmsim.scenario import load_scenario
from llmsim.slo import Slo
from llmsim.studies.plan.candidates import Candidate
from llmsim.studies.plan.evaluate import FAILS
from llmsim.studies.plan.loads import load_of
from llmsim.studies.plan.targets import parse_target
from llmsim.studies.plan.unloaded import REQUESTS, never_kept

#: alone, a prompt of 100 tokens takes one step of 10 ms, and each of 19 further tokens another
ALONE = [
    "cluster.latency={name='constant', step_s=0.01}",
    "workload.lengths={source='fixed', prompt_tokens=100, output_tokens=20}",
    "workload.arrivals={process='poisson', rate_per_s=400.0}",
    "cluster.instances=3",
    "slo={ttft_s=0.1, tpot_s=0.0101, e2e_s=0.21}",
]


def never(*changes: str, target: str = "slo.attainment >= 0.9"):
    scenario = load_scenario("quickstart", [*ALONE, *changes])
    targets = [parse_target(target, "", Slo(**scenario.slo.model_dump()))]
    return never_kept(Candidate(scenario, 1.0, load=load_of(scenario)), targets, 0.95)


@pytest.mark.parametrize(("name", "alone_s"), [("ttft_s", 0.01), ("tpot_s", 0.01), ("e2e_s", 0.2)])
def test_a_bound_below_the_unloaded_latency_is_never_kept_and_one_above_it_may_be(name: str, alone_s: float) -> None:
    found = never(f"slo.{name}={0.99 * alone_s}")

    assert found is not None
    evaluation, binding = found
    assert (evaluation.answer, evaluation.unloaded, evaluation.instances) == (FAILS, True, 1)
    assert f"100 % of {REQUESTS} requests exceed {name} = {0.99 * alone_s:g}" in evaluation.reason
    assert f"the fastest takes {alone_s:.3g} s" in evaluation.reason
    assert binding is not None
    assert never(f"slo.{name}={1.01 * alone_s}") is None


def test_percentiles_of_a_target_are_bounds_too() -> None:
    found = never(target="e2e_s.p90 <= 0.19")

    assert found is not None
    assert "exceed e2e_s = 0.19 (the fastest takes 0.2 s" in found[0].reason
    assert never(target="e2e_s.p90 <= 0.21") is None


def test_requests_that_no_instance_takes_are_said_with_the_reason() -> None:
    found = never("cluster.num_gpu_blocks=5")

    assert found is not None
    assert f"100 % of {REQUESTS} requests are refused (needs 8 KV blocks, the instance has 5)" in found[0].reason
    assert "exceed" not in found[0].reason
    assert found[1] is None, "nothing ran that could bind"


@pytest.mark.parametrize(
    "change",
    [
        "workload.prefixes={system_prompts=2, system_tokens=64}",
        "workload.sessions={turns={mean=2.0}, think={mean_s=1.0}}",
    ],
)
def test_of_requests_that_share_prompts_one_alone_says_nothing(change: str) -> None:
    assert never("slo.ttft_s=0.001", change) is None
