"""Attention on ranks in lockstep that share experts: step times by hand, memory by hand, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.experiment.instances import make_instances
from llmsim.latency.data_parallel import DataParallel, dealt, of_data_sheet, of_profile
from llmsim.latency.hardware import kv_blocks, load_gpu, load_model
from llmsim.latency.host import Host
from llmsim.latency.kv_memory import weight_bytes_per_gpu
from llmsim.latency.profile import find_profile, load_profile, read_profile
from llmsim.latency.profile_files import profiles_dir
from llmsim.latency.sources.constant import Constant
from llmsim.latency.support import support
from llmsim.scenario import load_scenario
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import same, serve_both_ways
from llmsim.workload.contract import Workload

MIXTURE = "qwen3-235b-a22b-fp8"
ON_H100 = ("gpu=h100-sxm-80gb", f"model={MIXTURE}", "data_parallel_size=8")


def instance(*changes, others=()):
    return make_instances(load_scenario("quickstart", [*(f"cluster.{each}" for each in changes), *others]))[0]


def by_hand(ranks):
    """A rank takes 1 s + 10 s a sequence that decodes + 100 s a prompt token; what is shared 1000 s a token of all."""
    rank = Constant(1.0, prefill_token_s=100.0, decode_seq_s=10.0)
    return DataParallel(rank, lambda tokens: 1000.0 * tokens, ranks)


@pytest.mark.parametrize(
    ("chunks", "decoding", "seconds"),
    [
        ((), 8, 1 + 2 * 10 + 8 * 1000),
        ((), 9, 1 + 3 * 10 + 9 * 1000),  # one rank has three
        ((), 1, 1 + 10 + 1000),
        (((0, 5),), 0, 1 + 500 + 5 * 1000),  # three ranks wait for the one with the prompt
        (((0, 5), (0, 3)), 4, 1 + 10 + 500 + 12 * 1000),
        (((0, 5), (0, 4), (0, 3), (0, 2), (0, 2)), 0, 1 + 500 + 16 * 1000),  # 5, 4, 3, 2 + 2
    ],
)
def test_a_step_is_its_slowest_rank_and_what_all_share(chunks, decoding, seconds):
    assert by_hand(4).step_time_s(chunks, decoding, 100 * decoding) == pytest.approx(seconds)


def test_prompts_go_to_the_rank_with_the_fewest_tokens_the_longest_first():
    assert dealt([(0, 2), (7, 9), (0, 4), (0, 3)], 2) == [[(7, 9)], [(0, 4), (0, 3), (0, 2)]]
    assert dealt([(0, 2)], 4) == [[(0, 2)]]


def test_ranks_of_a_data_sheet_are_engines_that_wait_for_their_experts():
    """Each rank alike: a rank's own part is that of an engine with as many sequences, and experts see all tokens."""
    gpu, model = load_gpu("h200-sxm"), load_model(MIXTURE)
    alone, ranks = of_data_sheet(gpu, model), of_data_sheet(gpu, model.over(1, None, 4))

    own_s = ranks.step_time_s((), 64, 64_000) - ranks.shared_s(64)
    routed_s = model.moe_layers * alone._routed_s(16, model.experts, 1)
    assert own_s == pytest.approx(alone.step_time_s((), 16, 16_000) - routed_s)


def test_shipped_profiles_of_ranks_are_of_what_they_name():
    paths = sorted((profiles_dir() / "steps").glob("*/*-dp*-tp*.json"))

    assert len(paths) >= 9
    for path in paths:
        shipped = read_profile(path)
        name, _, ranks = path.stem.removesuffix("-tp1").rpartition("-dp")
        model = load_model(name).over(1, None, int(ranks))
        assert (shipped.gpu, shipped.model, shipped.tensor_parallel_size) == (path.parent.name, name, 1)
        assert shipped.architecture == model.architecture
        assert shipped.expert_parallel_size == int(ranks)
        assert find_profile(load_gpu(shipped.gpu), model) == path


def test_experts_of_four_gpus_are_read_by_four():
    gpu, model = load_gpu("h200-sxm"), load_model(MIXTURE)
    experts_gb = model.layer_parameters()["experts"] / 1e9  # fp8: a byte each
    peak_s = 1e9 * experts_gb / 4 / gpu.memory_bandwidth_bytes_per_s

    shipped = load_profile(gpu.name, f"{MIXTURE}-dp4")
    for times in (of_data_sheet(gpu, model.over(1, None, 4)), of_profile(shipped)):
        assert peak_s < times.shared_s(256) < 3 * peak_s


def test_memory_of_a_rank_has_its_share_of_the_experts_and_all_of_the_rest():
    gpu, model = load_gpu("h100-sxm-80gb"), load_model(MIXTURE)
    experts = 94 * 128 * 3 * 4096 * 1536  # fp8: bytes
    ranks = model.over(1, None, 8)

    assert weight_bytes_per_gpu(ranks, 1) == pytest.approx(model.weight_bytes - experts * 7 / 8)
    assert weight_bytes_per_gpu(model.over(1, None, 1), 1) == weight_bytes_per_gpu(model, 1) == model.weight_bytes
    made = instance(*ON_H100)
    blocks = kv_blocks(gpu, ranks, max_num_batched_tokens=2048, max_num_seqs=256, null_blocks=1)
    assert (made.num_gpu_blocks, made.gpus) == (8 * blocks, 8)
    (row,) = support(gpu, ranks, (1,))
    assert row.step_times == "composed"
    assert any("less certain" in note for note in row.notes)


def test_seats_and_budget_are_those_of_all_ranks_and_a_prompt_has_that_of_one():
    made = instance(*ON_H100, others=["scheduler.max_num_seqs=16", "scheduler.max_num_batched_tokens=512"])

    assert made.scheduler == ChunkedPrefill(8 * 512, 8 * 16, long_prefill_token_threshold=512)
    assert "attention on 8 ranks in lockstep, evenly loaded: less certain" in made.latency.basis


def test_each_rank_has_a_host_of_its_own():
    rank = Constant(1.0)
    host = Host(rank, sequence_s=1.0, eager_step_s=100.0, max_cudagraph_capture_size=4, ranks=2)

    assert host.step_time_s((), 7, 7) == 1 + 4  # 4 sequences at one of them, 8 tokens in graphs
    assert host.step_time_s((), 9, 9) == 1 + 5 + 100


@pytest.mark.parametrize("name", ["table", "roofline"])
def test_stretches_are_steps_to_the_bit(name):
    """Contexts of a rank are fractions of a token."""
    made = instance(*ON_H100, f"latency={name}")
    draw = np.random.default_rng(7)
    workload = Workload(np.sort(draw.uniform(0, 5, 60)), draw.integers(50, 3000, 60), draw.integers(2, 90, 60), "x")

    sizes = {"latency": made.latency, "num_gpu_blocks": 4000, "max_model_len": 8192}

    assert same(*serve_both_ways(workload, made.scheduler, **sizes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["prefix_caching=true"], "each rank has a prefix cache of its own"),
        (["expert_parallel_size=4"], "expected 1 or tensor_parallel_size x data_parallel_size = 8"),
        (["expert_parallel_size=1"], "a share of each expert on every GPU"),
        (["gpu=a100-sxm4-80gb"], "no step times for qwen3-235b-a22b-fp8 on a100-sxm4-80gb"),
    ],
)
def test_what_ranks_do_not_go_with_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        instance(*ON_H100, *changes)


def test_another_engines_scheduler_is_not_shared_out():
    with pytest.raises(InputError, match="Sglang is not shared out"):
        instance(*ON_H100, others=["scheduler.name=sglang"])
