"""Our engine against vLLM's own scheduler, step by step: recorded decisions, and random workloads against rules."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llmsim.studies.validation import validate
from llmsim.studies.validation.cases.vllm_decisions import spec_of
from llmsim.studies.validation.decision_runs import Fate, Step, TickedSteps, VllmRun, VllmSettings, workload_of
from llmsim.studies.validation.decisions import compare_run
from tests.oracles.vllm_naive import Engine, spelled_out
from tests.oracles.vllm_workloads import drawn
from tests.places import DATA, LONG, cases, needs

FOLDER = DATA / "peers" / "vllm"
WORKLOADS = 40
#: seeds of long workloads: these five take as long as the 55 others, and are for the long form
LARGE = {4, 10, 13, 51, 56}


def in_groups(count):
    """Seeds from 0 on, 30 together."""
    groups = [range(n, n + 30) for n in range(0, cases(count), 30)]
    return [group if LONG else [seed for seed in group if seed not in LARGE] for group in groups]


@needs("peers/vllm")
@pytest.mark.parametrize("in_flight", [1, 2])
def test_the_naive_engine_decides_as_vllm_does(in_flight):
    """What random workloads are compared with below is itself equal to vLLM: every step, every request, both modes."""
    files = sorted(FOLDER.glob("*.json"))
    assert len(files) == WORKLOADS
    for file in files:
        recorded = json.loads(file.read_text())
        engine = Engine(recorded["settings"], recorded["step_time_ticks"], recorded["requests"]).run(in_flight)
        if in_flight == 1:
            assert engine.steps == spelled_out(recorded["steps"]), file.name
        assert engine.outcome == recorded["outcome" if in_flight == 1 else "async_outcome"], file.name


@needs("peers/vllm")
def test_decisions_agree_with_vllm():
    report = validate("vllm-decisions", DATA)
    total = report.rows[-1]

    assert total["workloads"] == WORKLOADS
    assert total["steps_of_vllm"] > 20_000
    assert total["same_steps"] == total["same_outcome"] == total["same_async_outcome"] == WORKLOADS
    assert report.passed


def compared(seed, **fixed):
    """A random workload as the naive engine and ours serve it."""
    return served_both_ways(*drawn(seed, **fixed))


def served_both_ways(settings, times, requests):
    engine = Engine(settings, times, requests).run()
    steps = [Step(*step[:-1], sorted(step[-1])) for step in engine.steps]
    outcome, ahead = (
        [Fate(*fate) for fate in each.outcome] for each in (engine, Engine(settings, times, requests).run(2))
    )
    latency, load = TickedSteps(**times), workload_of("drawn", requests)
    run = VllmRun("drawn", VllmSettings(**settings), latency, load, steps, outcome, ahead)
    return compare_run(run, spec_of(run))


@pytest.mark.parametrize("policy", ["fcfs", "priority"])
@pytest.mark.parametrize("seeds", in_groups(30), ids=lambda seeds: f"{seeds[0]}")
def test_random_workloads_without_caching(seeds, policy):
    agreements = [compared(seed, prefix_caching=False, policy=policy) for seed in seeds]

    assert [str(agreement.first) for agreement in agreements if agreement.first is not None] == []
    assert sum(fate.preemptions for agreement in agreements for fate in agreement.run.outcome) > 10


@pytest.mark.parametrize("policy", ["fcfs", "priority"])
@pytest.mark.parametrize("seeds", in_groups(60), ids=lambda seeds: f"{seeds[0]}")
def test_random_workloads_with_caching(seeds, policy):
    agreements = [compared(seed, prefix_caching=True, policy=policy) for seed in seeds]

    assert [str(agreement.first) for agreement in agreements if agreement.first is not None] == []
    assert sum(fate.preemptions for agreement in agreements for fate in agreement.run.outcome) > 0
    assert sum(sum(fate.found) for agreement in agreements for fate in agreement.run.outcome) > 1000


def long_and_short(seed, policy, caching, adaptive):
    """Long prompts, cut into chunks that use a step's budget up, and short ones that decode after them in the list."""
    rng = np.random.default_rng(seed)
    settings, times, _ = drawn(seed, policy=policy, prefix_caching=caching, watermark=0.0)
    settings |= {"max_num_batched_tokens": 32, "max_num_seqs": 16, "block_size": 4, "max_model_len": 400}
    settings |= {"num_blocks": int(rng.choice([110, 150, 1000])), "long_prefill_token_threshold": 12}
    settings["long_prefill_token_threshold_adaptive"] = adaptive
    arrival = np.cumsum(rng.exponential(20_000, 25)).astype(int)
    prompts, outputs = rng.choice([2, 3, 5, 40, 90, 200], 25), rng.integers(1, 30, 25)
    columns = (arrival, prompts, outputs, rng.integers(0, 3, 25))
    parts = [[[1, int(prompt) // 2]] if caching and prompt > 10 else [] for prompt in prompts]
    requests = [[*map(int, row), part] for row, part in zip(zip(*columns, strict=True), parts, strict=True)]
    return settings, times, requests


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize(("policy", "caching"), [("fcfs", False), ("fcfs", True), ("priority", False)])
def test_random_workloads_with_a_threshold_for_long_prompts(policy, caching, adaptive):
    """By hand also 150 of `drawn`: all alike; of 50 with priority and caching 47 (docs/background/limits.md)."""
    agreements = [served_both_ways(*long_and_short(seed, policy, caching, adaptive)) for seed in (1, 6, 9)]

    assert [str(agreement.first) for agreement in agreements if agreement.first is not None] == []
    assert sum(fate.preemptions for agreement in agreements for fate in agreement.run.outcome) > 0
