"""Pipelines against hand-computed ones and against batches sent through stages one by one."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.experiment.engine_rules import engine_rules
from llmsim.experiment.instances import make_instances
from llmsim.latency.hardware import kv_blocks, load_gpu, load_model
from llmsim.latency.host import Host
from llmsim.latency.pipeline import HOP_S, Pipeline, in_stages, packed
from llmsim.latency.roofline import Roofline
from llmsim.latency.sources.constant import Constant
from llmsim.scenario import load_scenario
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import same, serve_both_ways
from llmsim.workload.contract import Workload

STAGES, BUDGET = 4, 1000
#: T = 6 ms + 0.05 ms a sequence + 0.1 ms a prompt token on all layers, a quarter of it in each stage
WHOLE, LAST = Constant(6e-3, 1e-4, 5e-5), Constant(1.5e-3, 2.5e-5, 1.25e-5)
PIPELINE = Pipeline(WHOLE, LAST, STAGES, BUDGET, hop_s=2e-5)


def instance(*changes, others=()):
    return make_instances(load_scenario("quickstart", [*(f"cluster.{each}" for each in changes), *others]))[0]


@pytest.mark.parametrize(("sequences", "ms", "per_s"), [(4, 6.13, 653), (64, 6.88, 9_302), (256, 9.28, 27_586)])
def test_even_batches_emit_once_a_cycle(sequences, ms, per_s):
    cycle_s = PIPELINE.step_time_s((), sequences, 100 * sequences)

    assert 1e3 * cycle_s == pytest.approx(ms)
    assert sequences / cycle_s == pytest.approx(per_s, abs=0.5)


@pytest.mark.parametrize("decoding", range(1, 10))
def test_the_budgets_of_all_batches_fill_no_batch_more_than_there_are_stages(decoding):
    prompt = STAGES * BUDGET - decoding  # what a scheduler with the budget of all batches hands out
    room = -(-prompt // STAGES)
    mine = -(-decoding // STAGES)
    slowest_s = 6e-3 + 5e-5 * mine + 1e-4 * room

    cycle_s = PIPELINE.step_time_s([(0, prompt)], decoding, 10 * decoding)
    assert cycle_s == pytest.approx(slowest_s + STAGES * 2e-5, rel=1e-3)


def test_a_lone_sequence_goes_through_all_stages():
    assert PIPELINE.step_time_s((), 1, 10) == pytest.approx(6.05e-3 + 4 * 2e-5)


def sent_through(batches_s, stages, hop_s, cycles=50):
    """Send batches through stages in turn, each anew when it has left the last: seconds of a cycle."""
    free_s, ready_s, ends = [0.0] * stages, [0.0] * len(batches_s), []
    for _ in range(cycles):
        for batch, whole_s in enumerate(batches_s):
            at_s = ready_s[batch]
            for stage in range(stages):
                free_s[stage] = max(at_s, free_s[stage]) + whole_s / stages + hop_s
                at_s = free_s[stage]
            ready_s[batch] = at_s
        ends.append(max(ready_s))
    return (ends[-1] - ends[cycles // 2]) / (cycles - 1 - cycles // 2)


@pytest.mark.parametrize("decoding", [0, 1, 3, 4, 40, 400])
@pytest.mark.parametrize("prompts", [(), (90,), (900,), (600, 300, 1500), (3000,), (5000, 400)])
def test_cycles_are_those_of_batches_sent_through_stages(decoding, prompts):
    if not (decoding or prompts):
        return
    mine, room = -(-decoding // STAGES), BUDGET - decoding // STAGES
    filled = [sum(tokens for _, tokens in batch) for batch in packed([(0, n) for n in prompts], room)]
    tokens = filled + [0] * (min(STAGES, decoding) - len(filled))
    whole_s = [6e-3 + 5e-5 * mine + 1e-4 * n for n in tokens]

    cycle_s = PIPELINE.step_time_s([(0, n) for n in prompts], decoding, 10 * decoding)
    assert cycle_s == pytest.approx(sent_through(whole_s, STAGES, 2e-5), rel=1e-9)


@pytest.mark.parametrize("chunks", [1, 2, 4])
def test_a_lone_prompt_is_early_by_the_filling_of_the_pipe_at_most(chunks):
    """Idle share (p - 1) / (m + p - 1) of m chunks: (m + p - 1) / p of a chunk's time; a cycle is one."""
    plain = Pipeline(WHOLE, LAST, STAGES, BUDGET, hop_s=0.0)
    whole_s = WHOLE.step_time_s(((0, BUDGET),), 0, 0)
    true_s = (chunks + STAGES - 1) / STAGES * whole_s

    early_s = true_s - plain.step_time_s(((0, chunks * BUDGET),), 0, 0)
    assert early_s == pytest.approx((chunks - 1) / STAGES * whole_s)


def test_the_last_stage_has_the_head_and_the_most_layers():
    gpu, model = load_gpu("h100"), load_model("llama-3.1-70b-fp8")
    whole = Roofline(gpu, model, 2)
    three = in_stages(whole, gpu, model, 2, 3, 8192)

    assert isinstance(three, Pipeline)
    n, context = 96, 96 * 1000
    last_s = whole.with_layers(27 / 80).step_time_s((), 32, 32_000)
    assert three.step_time_s((), n, context) > 3 * (last_s + HOP_S) > whole.step_time_s((), 32, 32_000)
    first_s, growth_s, steps = three.decode_line(n, context)
    assert first_s == three.step_time_s((), n, context)
    assert steps > 10
    assert three.step_time_s((), n, context + 10 * n) == pytest.approx(first_s + 10 * growth_s)


def test_memory_is_that_of_the_last_stage():
    gpu, model = load_gpu("h100"), load_model("llama-3.1-70b")
    head = 2 * 128_256 * 8192
    stage = (model.weight_bytes - 2 * head) / 4 + head
    blocks = kv_blocks(gpu, model, pipeline_parallel_size=4)
    one = 16 * model.kv_bytes_per_token / 4

    whole = kv_blocks(load_gpu("h100"), load_model("llama-3.1-8b"))
    assert (blocks + 1) * one + stage > 0.9 * gpu.memory_bytes - 4e9 > blocks * one
    assert kv_blocks(gpu, load_model("llama-3.1-8b"), pipeline_parallel_size=1) == whole
    with pytest.raises(InputError, match="expected at most the 80 layers"):
        kv_blocks(gpu, model, pipeline_parallel_size=81)


def test_an_instance_has_the_budget_of_all_batches_and_the_seats_of_one_scheduler():
    made = instance(
        "gpu=h100-sxm-80gb", "model=llama-3.1-70b-fp8", "tensor_parallel_size=2", "pipeline_parallel_size=2",
        others=["scheduler.max_num_seqs=64", "scheduler.max_num_batched_tokens=512", "host.step_s=0.001"],
    )  # fmt: skip

    assert made.scheduler == ChunkedPrefill(2 * 512, 64)
    assert (made.gpus, made.async_scheduling) == (4, False)
    assert isinstance(made.latency, Host)
    assert (made.latency.step_s, made.latency.overlapped) == (0.002, True)
    assert "2 pipeline stages with even batches: less certain" in made.latency.basis


def test_what_an_engine_does_in_a_pipeline_is_said():
    changes = ["cluster.engine=vllm-0.15", "cluster.pipeline_parallel_size=2", "cluster.gpu=h100-sxm-80gb"]
    scenario = load_scenario("quickstart", changes)

    said = engine_rules(scenario, make_instances(scenario))
    assert said.endswith("16384 tokens a step, 1024 seats, prefix caching, 2 batches under way")


def test_stretches_are_steps_to_the_bit():
    made = instance(
        "gpu=h100-sxm-80gb", "model=llama-3.1-70b-fp8", "tensor_parallel_size=2", "pipeline_parallel_size=2"
    )
    draw = np.random.default_rng(3)
    workload = Workload(np.sort(draw.uniform(0, 9, 60)), draw.integers(50, 5000, 60), draw.integers(2, 90, 60), "x")

    sizes = {"latency": made.latency, "num_gpu_blocks": 4000, "max_model_len": 8192}

    assert same(*serve_both_ways(workload, made.scheduler, **sizes))


@pytest.mark.parametrize(
    ("changes", "others", "message"),
    [
        (["latency=constant", "latency.step_s=0.01"], [], "Constant do not tell layers apart"),
        ([], ["scheduler.name=fcfs"], "Fcfs is not shared out"),
        ([], ["speculation.method=mtp", "speculation.num_speculative_tokens=1", "speculation.acceptance_length=1.5"],
         "vLLM does not speculate in a pipeline"),
        (["model=opt-13b", "latency=roofline", "pipeline_parallel_size=41"], [], "expected at most the 40 layers"),
    ],
)  # fmt: skip
def test_what_a_pipeline_does_not_go_with_is_refused(changes, others, message):
    with pytest.raises(InputError, match=message):
        instance("pipeline_parallel_size=2", *changes, others=others)
