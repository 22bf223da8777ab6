"""Decodes beside a prompt on FlashAttention 2: two numbers read from prompts, against a GPU that works tile by tile."""

import heapq

import numpy as np
import pandas as pd
import pytest

from llmsim.latency.compose import compose
from llmsim.latency.hardware import load_gpu, load_model
from llmsim.latency.mixed_attention import mixed_decode_times
from llmsim.latency.operators import Kernels
from llmsim.latency.profile import load_profile
from llmsim.latency.table import StepTable
from places import DATA, evidence

TILE_S, BLOCK_S, SLOTS = 9e-6, 5e-6, 216  # an A100's: two tiles at once on each of 108 multiprocessors
HEADS, LAYERS = 32, 32
ROWS, BLOCK_TOKENS = 64, 128
MOST_TOKENS = 16384  # of a batch that was measured


def run_s(blocks):
    """Seconds in which a GPU works off tiles of so many blocks, in order, each where a slot is free first."""
    free = [0.0] * SLOTS
    for count in blocks:
        heapq.heappush(free, heapq.heappop(free) + TILE_S + BLOCK_S * count)
    return max(free)


def prompt_blocks(tokens, prompts):
    each = [-(-ROWS * (tile + 1) // BLOCK_TOKENS) for tile in range(tokens // ROWS)]
    return each * (HEADS * prompts)


class Tables:
    """Operators of which only prompts' attention is asked, measured on that GPU."""

    def __init__(self, kernels):
        self.kernels = kernels

    def prefill_attention_s(self, heads):
        sizes, batches = [16, 64, 128, 256, 512, 1024, 2048, 4096], [1, 4, 16, 64, 256]
        rows = {n: {b: run_s(prompt_blocks(n, b)) for b in batches if n * b <= MOST_TOKENS} for n in sizes}
        return pd.DataFrame(rows).T


@pytest.fixture(scope="module")
def times():
    model, gpu = load_model("llama-3.1-8b"), load_gpu("a100")
    return mixed_decode_times(Tables(Kernels("vllm", "0.14.0")), gpu, model, 1)


@pytest.mark.parametrize(("decodes", "context"), [(256, 700), (300, 400), (200, 3000)])
def test_a_step_with_a_prompt_takes_as_long_as_the_gpu_needs_for_all_tiles(times, decodes, context):
    rng = np.random.default_rng(decodes)
    contexts = rng.integers(context // 2, context * 3 // 2, decodes)
    worked_off_s = LAYERS * run_s([-(-int(c) // BLOCK_TOKENS) for c in contexts for _ in range(HEADS)])
    said_s = decodes * (times.sequence_s + times.block_s / 2) + contexts.sum() / BLOCK_TOKENS * times.block_s

    assert times.block_tokens == BLOCK_TOKENS
    assert said_s == pytest.approx(worked_off_s, rel=0.05)


def test_only_engines_and_gpus_with_flash_attention_2_have_it(times):
    model, tables = load_model("llama-3.1-8b"), Tables(Kernels("vllm", "0.14.0"))

    assert times is not None
    assert mixed_decode_times(tables, load_gpu("h100"), model, 1) is None
    assert mixed_decode_times(tables, load_gpu("mi300x"), model, 1) is None
    assert mixed_decode_times(Tables(Kernels("sglang", "0.5.9")), load_gpu("a100"), model, 1) is None
    assert mixed_decode_times(tables, load_gpu("a100"), model.with_kv_cache("fp8"), 1) is None
    assert mixed_decode_times(tables, load_gpu("a100"), load_model("gemma-3-12b"), 1) is None


@pytest.mark.parametrize(("gpu", "block_ns"), [("a100-sxm4-80gb", 22.4), ("l40s", 22.4)])
@pytest.mark.parametrize("key", [("llama-3.1-8b", 1), ("qwen2.5-14b", 1), ("llama-3.1-70b", 4)])
def test_a_block_takes_as_long_whatever_the_model(gpu, block_ns, key):
    """Tables of 32, 40 and 16 heads, fitted apart: a block of 64 rows by 128 tokens is the same work in all of them."""
    model, (name, gpus) = load_model(key[0]), key
    shipped = load_profile(gpu, name, gpus)
    heads = model.num_hidden_layers * model.num_attention_heads / gpus

    assert shipped.mixed_decode.block_s / heads == pytest.approx(1e-9 * block_ns, rel=0.06)


def test_shipped_times_are_those_composed_today():
    evidence("profiles/ops/a100_sxm")
    gpu, model = load_gpu("a100"), load_model("llama-3.1-8b")

    assert compose(DATA / "profiles/ops", gpu, model).mixed_decode == load_profile(gpu.name, model.name).mixed_decode


def test_a_decode_beside_a_prompt_never_takes_less_than_alone():
    table = StepTable(load_profile("l40s", "llama-3.1-8b"))
    for decodes, context in ((1, 500), (16, 700), (48, 700), (8, 30000)):
        alone_s = table.step_time_s((), decodes, decodes * context)
        assert table.step_time_s(((544, 3),), decodes, decodes * context) > alone_s
