"""Random configurations over all features, each run three ways: in stretches, step by step, and with every event.

The three agree to the bit, in the record and in every number of the score; each request has one outcome; what a run did
is conserved (`llmsim.testing.check_record`). Where vLLM's rules apply, a naive engine that shares nothing with ours
(tests/oracles/vllm_naive.py) must decide the same, step by step.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any
from unittest import mock

from llmsim import experiment
from llmsim.cluster import build
from llmsim.errors import InputError
from llmsim.scenario import Scenario, load_scenario
from llmsim.testing import check_record, same

SCHEDULERS = (
    *(
        "name='chunked_prefill'",
        "name='chunked_prefill', max_num_seqs=3",
        "name='chunked_prefill', max_num_batched_tokens=64, max_num_seqs=8",
    ),
    *(
        "name='fcfs'",
        "name='fcfs', max_num_batched_tokens=256, max_num_seqs=4",
        "name='static', max_num_seqs=4",
        "name='priority'",
    ),
    *("name='sglang'", "name='earliest_token_deadline', tokens_per_s=5.0", "name='token_delay', tokens_per_s=4.0"),
    *("name='shortest_predicted_first'", "name='vtc'"),
)
ROUTERS = (
    "round_robin",
    "random",
    "least_outstanding",
    "power_of_two",
    "prefix_aware",
    "session_affinity",
    "shortest_expected_delay",
)
LENGTHS = (
    "{source='fixed', prompt_tokens=70, output_tokens=12}",
    "{source='fixed', prompt_tokens=1, output_tokens=1}",
    "{source='lognormal', prompt_mean_tokens=300.0, prompt_cv=1.0, output_mean_tokens=30.0, output_cv=1.0}",
    "{source='sharegpt'}",
)
ARRIVALS = (
    "{process='poisson', rate_per_s=RATE}",
    "{process='constant', rate_per_s=RATE}",
    "{process='gamma', rate_per_s=RATE, burstiness=0.3}",
    "{process='closed', concurrency=5}",
)
#: features that a configuration may have beside: chance, and changes of which it takes one
FEATURES: tuple[tuple[float, tuple[tuple[str, ...], ...]], ...] = (
    (0.4, (("cluster.prefix_caching=true", "workload.prefixes={system_prompts=2, system_tokens=64}"),)),
    (0.3, (("scheduler.async_scheduling=true",), ("scheduler.async_scheduling=false",))),
    (0.4, (("cluster.num_gpu_blocks=40",), ("cluster.num_gpu_blocks=90",), ("cluster.num_gpu_blocks=400",))),
    (0.2, (("cluster.block_size=1",), ("cluster.block_size=32",))),
    (
        0.3,
        (
            ("patience={first_token={mean_s=2.0}}",),
            ("patience={first_token={mean_s=0.5, distribution='fixed'}, cancel_delay_s=0.3}",),
            ("patience={next_token={mean_s=0.5}}",),
        ),
    ),
    (0.2, (("retries={max_attempts=3, backoff_s=0.5, jitter=0.0}",), ("retries={max_attempts=2}",))),
    (0.2, (("gateway={max_concurrency=4}",), ("gateway={max_concurrency=3, max_queue=5}",))),
    (
        0.3,
        (("host={step_s=0.002, request_s=0.01}",), ("host={step_s=0.001, sequence_s=0.0001, output_token_s=0.0002}",)),
    ),
    (
        0.3,
        (
            ("abandonment={policy='missed'}",),
            ("abandonment={policy='must_miss'}",),
            ("abandonment={policy='missed', tokens_per_s=8.0}",),
        ),
    ),
    (0.2, (("delivery={policy='paced', tokens_per_s=10.0}",),)),
    (0.3, (("prediction={predictor='oracle'}",), ("prediction={predictor='noisy', sigma=0.5}",))),
    (0.3, (("workload.classes=[{name='a', weight=2.0}, {name='b', weight=1.0, priority=-1}]",),)),
    (
        0.2,
        (
            ("clients.max_in_flight=4",),
            ("clients.measure_from='sent'", "clients.max_in_flight=3"),
            ("clients.ignore_eos=true",),
        ),
    ),
    (0.2, (("router.report_age_s=0.5",), ("router.report_age_s=0.1", "router.count_own_sends=false"))),
    (0.15, (("autoscaling={target=3.0, max_instances=4, interval_s=1.0, cold_start_s=2.0}",),)),
    (0.2, (("until_s=3.0",), ("until_s=0.75",))),
    (0.15, (("speculation={method='ngram', num_speculative_tokens=3, acceptance_length=1.8}",),)),
    (0.15, (("workload.sessions={turns={mean=3.0}, think={mean_s=0.5}}",),)),
)
POOLS = (
    (),
    (
        "pool=[{name='p', role='prefill', instances=1}, {name='d', role='decode', instances=2}]",
        "kv_transfer={bandwidth_gb_per_s=20.0}",
    ),
    (
        "pool=[{name='p', role='prefill', instances=2}, {name='d', role='decode', instances=1, num_gpu_blocks=60}]",
        "kv_transfer={bandwidth_gb_per_s=5.0, when_full='fall_back'}",
    ),
    ("pool=[{name='a', instances=1}, {name='b', instances=1, gpu='h100-sxm-80gb'}]",),
)


def changes(seed: int) -> list[str]:
    """Draw the changes of quickstart that make a configuration; the same seed, the same ones."""
    rng = random.Random(seed)
    rate = rng.choice([0.5, 4.0, 30.0, 300.0])
    found = [
        f"seed={seed % 1000}",
        f"workload.requests={rng.choice([1, 7, 25, 60])}",
        f"workload.lengths={rng.choice(LENGTHS)}",
        f"workload.arrivals={rng.choice(ARRIVALS).replace('RATE', str(rate))}",
        f"cluster.latency={rng.choice(['table', 'roofline'])}",
        f"cluster.instances={rng.choice([1, 1, 2, 3])}",
        f"scheduler={{{rng.choice(SCHEDULERS)}}}",
        f"router.name={rng.choice(ROUTERS)}",
    ]
    for chance, kinds in FEATURES:
        if rng.random() < chance:
            found += rng.choice(kinds)
    if rng.random() < 0.3:
        found += rng.choice(POOLS)
    return found


def configurations(first_seed: int) -> Iterator[tuple[int, Scenario]]:
    """Yield those that make sense, without end, each with its seed; the others are refused, as they should be."""
    seed = first_seed
    while True:
        try:
            scenario = load_scenario("quickstart", changes(seed))
            experiment.assemble(scenario).simulate()
            yield seed, scenario
        except InputError:
            pass
        seed += 1


def disagreements(scenario: Scenario) -> list[str]:
    """Run a configuration three ways; say what differs, or is not conserved."""
    stretches = experiment.run(scenario)
    stepwise = experiment.run(scenario, stepwise=True)
    with mock.patch.object(build, "_needs_events", return_value=True):
        eager = experiment.run(scenario)
    found = []
    for way, other in (("step by step", stepwise), ("with every event", eager)):
        if not same(stretches.record, other.record):
            found.append(f"{way}: another record")
        one, two = (dict(leaves_of(run)) for run in (stretches, other))
        found += [
            f"{way}: {key} is {two.get(key)!r}, in stretches {one.get(key)!r}"
            for key in one
            if one[key] != two.get(key)
        ]
    try:
        check_record(stretches.record, in_vain=True)
    except AssertionError as error:
        found.append(f"not conserved: {error}")
    outcomes = stretches.score["requests"]
    if outcomes["total"] != sum(outcomes[name] for name in outcomes if name != "total"):
        found.append(f"outcomes do not add up: {outcomes}")
    return found


def leaves_of(run: Any) -> Iterator[tuple[str, Any]]:
    """The numbers of a score, but for the time that it took."""
    from llmsim.metrics import catalogue

    return ((key, value) for key, value in catalogue.leaves(run.score.to_dict()) if key != "wall_s")


def disagreements_with_vllm(seed: int) -> list[str]:
    """Compare our engine with a naive one by vLLM's rules, on a random workload; say where it decides otherwise."""
    from tests.oracles.test_vllm_decisions import compared

    policy = "priority" if seed % 2 else "fcfs"
    first = compared(seed, prefix_caching=seed % 4 >= 2, policy=policy).first
    return [] if first is None else [f"workload {seed}: {first}"]
