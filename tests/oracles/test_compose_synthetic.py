"""Composing operators whose latencies are formulas gives steps whose times are formulas."""

import itertools

import numpy as np
import pandas as pd
import pytest

from llmsim.errors import InputError
from llmsim.latency.compose import compose, isotonic
from llmsim.latency.hardware import Gpu, Model
from llmsim.latency.profile import StepProfile
from llmsim.latency.table import StepTable

PROVENANCE = {"source": "invented", "date": "2026-01-01"}
BANDWIDTH = 2e9  # low, so that element-wise work shows
GPU = Gpu(
    name="toy",
    memory_bytes=10**9,
    memory_bandwidth_bytes_per_s=BANDWIDTH,
    bf16_flop_per_s=1e14,
    interconnect_bytes_per_s=1e11,
    price_usd_per_hour=1,
    operator_tables="toy_sxm",
    provenance=PROVENANCE,
)
MODEL = Model(
    name="tiny",
    hidden_size=1024,
    num_hidden_layers=3,
    num_attention_heads=12,
    num_key_value_heads=4,
    head_dim=128,
    intermediate_size=3000,
    vocab_size=9000,
    max_model_len=4096,
    provenance=PROVENANCE,
)
SIZES = [512, 1024, 4096, 8192]
NOISE = {"float16": 7.0, "bfloat16": 1.0}  # what is not bf16 must not be read


def gemm_ms(m, n, k):
    return 1e-3 + 1e-9 * (m + 100) * n * k


def prefill_ms(batch, tokens, heads):
    return 0.02 + 1e-6 * heads * batch * tokens


def decode_ms(batch, context, kv_heads):
    return 0.01 + 1e-7 * kv_heads * batch * context


@pytest.fixture
def ops(tmp_path):
    def write(folder, operator, rows):
        path = tmp_path / "toy_sxm" / folder / "vllm" / "0.1.0"
        path.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_parquet(path / f"{operator}_perf.parquet")

    products = itertools.product(NOISE, [1, 64, 128, 8192], SIZES, SIZES)
    write(
        "gemm",
        "gemm",
        [{"gemm_dtype": d, "m": m, "n": n, "k": k, "latency": NOISE[d] * gemm_ms(m, n, k)} for d, m, n, k in products],
    )
    shared = {"attn_dtype": "bfloat16", "head_dim": 128}
    attention = list(itertools.product(NOISE, [8, 24], [4], [1, 2, 64]))
    write(
        "attention",
        "context_attention",
        [
            {
                "kv_cache_dtype": d,
                "num_heads": h,
                "num_key_value_heads": kv,
                "batch_size": b,
                "isl": t,
                **shared,
            }
            | {"window_size": window, "latency": (1 + window) * NOISE[d] * prefill_ms(b, t, h)}
            for (d, h, kv, b), t, window in itertools.product(attention, [1, 128, 8192], [0, 128])
        ],
    )
    write(
        "attention",
        "generation_attention",
        [
            {
                "kv_cache_dtype": d,
                "num_heads": h,
                "num_key_value_heads": kv,
                "batch_size": b,
                "isl": 1,
                **shared,
            }
            | {"step": c - 1, "latency": NOISE[d] * decode_ms(b, c, kv)}
            for (d, h, kv, b), c in itertools.product(attention, [2, 64, 4096])
        ],
    )
    write(
        "comm",
        "custom_allreduce",
        [
            {"allreduce_dtype": "bfloat16", "num_gpus": 2, "backend": backend, "message_size": size}
            | {"latency": slow * (5e-3 + 1e-8 * size)}
            for (backend, slow), size in itertools.product([("vllm_graph", 1), ("vllm_eager", 9)], [128, 1 << 24])
        ],
    )
    return tmp_path


def layers_s(tokens, gpus):
    h, inner = 1024, 3000 / gpus
    products = [(12 + 2 * 4) * 128 / gpus * h, h * 12 * 128 / gpus, 2 * inner * h, h * inner]
    matmul_s = sum(1e-3 + 1e-9 * (tokens + 100) * product for product in products) * 1e-3
    reduce_s = 2 * (5e-3 + 1e-8 * tokens * h) * 1e-3 if gpus > 1 else 0.0
    elementwise = tokens * (16 * h + 6 * inner) / (0.8 * BANDWIDTH) + 3 * 3e-6
    return 3 * (matmul_s + reduce_s + elementwise)


def ends_s(tokens, sequences, gpus):
    # a vocabulary wider than the table takes time in proportion to the widest
    head_s = gemm_ms(sequences, 8192, 1024) * 9000 / 8192 if gpus == 1 else gemm_ms(sequences, 4500, 1024)
    return head_s * 1e-3 + 2 * 3e-6 + tokens * 8 * 1024 / (0.8 * BANDWIDTH)


@pytest.mark.parametrize("tokens", [1, 100, 5000])
def test_prefill(ops, tokens):
    attention_s = 3 * prefill_ms(1, tokens, 12) * 1e-3
    expected = layers_s(tokens, 1) + ends_s(tokens, 1, 1) + attention_s

    assert StepTable(compose(ops, GPU, MODEL)).step_time_s(((0, tokens),), 0, 0) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(("sequences", "context"), [(1, 64), (2, 3000), (33, 500), (64, 4096)])
def test_decode(ops, sequences, context):
    attention_s = 3 * decode_ms(sequences, context, 4) * 1e-3
    expected = layers_s(sequences, 1) + ends_s(sequences, sequences, 1) + attention_s

    time_s = StepTable(compose(ops, GPU, MODEL)).step_time_s((), sequences, sequences * context)
    assert time_s == pytest.approx(expected, rel=2e-3)


def test_decode_beyond_the_measured_context_is_in_proportion(ops):
    attention = compose(ops, GPU, MODEL).decode_attention
    column = attention.context_tokens.index(131_072)

    assert attention.time_s[0][column] == pytest.approx(3 * decode_ms(1, 4096, 4) * 1e-3 * 131_072 / 4096, rel=1e-4)


def test_mixed_step(ops):
    attention_s = 3 * (prefill_ms(1, 128, 12) + decode_ms(2, 64, 4)) * 1e-3
    expected = layers_s(130, 1) + ends_s(130, 3, 1) + attention_s

    assert StepTable(compose(ops, GPU, MODEL)).step_time_s(((0, 128),), 2, 128) == pytest.approx(expected, rel=2e-3)


def test_prompts_in_a_batch_share_the_launch(ops):
    attention_s = 3 * prefill_ms(64, 128, 12) * 1e-3
    expected = layers_s(64 * 128, 1) + ends_s(64 * 128, 64, 1) + attention_s

    time_s = StepTable(compose(ops, GPU, MODEL)).step_time_s(((0, 128),) * 64, 0, 0)
    assert time_s == pytest.approx(expected, rel=2e-3)


def test_tensor_parallel(ops):
    wide = MODEL.model_copy(update={"num_attention_heads": 24, "num_key_value_heads": 8})
    alone = compose(ops, GPU, MODEL).prefill_attention
    profile = compose(ops, GPU, wide, 2)

    assert profile.prefill_attention == alone  # 24 heads on two GPUs are 12 on one
    h, products = 1024, [40 * 128 / 2 * 1024, 1024 * 24 * 128 / 2, 2 * 1500 * 1024, 1024 * 1500]
    at = profile.linear.tokens.index(1)
    matmul_s = sum(1e-3 + 1e-9 * 101 * product for product in products) * 1e-3
    elementwise_s = 3 * ((16 * h + 6 * 1500) / (0.8 * BANDWIDTH) + 9e-6) + 8 * h / (0.8 * BANDWIDTH) + 6e-6
    expected = 3 * (matmul_s + 2 * (5e-3 + 1e-8 * h) * 1e-3) + elementwise_s
    assert profile.linear.time_s[at] == pytest.approx(expected, rel=1e-4)


def test_more_kv_heads_than_measured_are_in_proportion(ops):
    model = MODEL.model_copy(update={"num_attention_heads": 16, "num_key_value_heads": 8})
    with pytest.raises(InputError, match="context_attention with 16 heads, 8 KV heads was not measured"):
        compose(ops, GPU, model)


def test_profile_tells_where_it_comes_from(ops):
    profile = compose(ops, GPU, MODEL)

    assert isinstance(profile, StepProfile)
    assert profile.provenance.operators.startswith("toy_sxm/*/vllm/0.1.0/")
    assert "vLLM 0.1.0" in profile.provenance.engine


@pytest.mark.parametrize(
    ("gpu", "model", "size", "message"),
    [
        (GPU.model_copy(update={"operator_tables": "toy_sx"}), MODEL, 1, "did you mean 'toy_sxm'"),
        (GPU.model_copy(update={"operator_tables": None}), MODEL, 1, "operator_tables is missing"),
        (GPU, MODEL.model_copy(update={"head_dim": 64}), 1, "only head_dim = 128"),
        (
            GPU,
            MODEL.model_copy(update={"num_attention_heads": 64}),
            1,
            "64 heads, 4 KV heads was not measured",
        ),
        (GPU, MODEL, 5, "expected a divisor"),
        (
            GPU,
            MODEL.model_copy(update={"num_attention_heads": 48, "num_key_value_heads": 16}),
            4,
            "over 4 GPUs",
        ),
    ],
)
def test_what_cannot_be_composed_says_why(ops, gpu, model, size, message):
    with pytest.raises(InputError, match=message):
        compose(ops, gpu, model, size)


def test_isotonic_pools_adjacent_violators():
    # Barlow et al. 1972: blocks of violators get their mean
    assert isotonic(np.array([1.0, 3.0, 2.0, 4.0, 3.5, 3.0, 9.0])).tolist() == [1, 2.5, 2.5, 3.5, 3.5, 3.5, 9]
