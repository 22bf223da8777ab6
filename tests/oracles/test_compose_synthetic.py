"""Composing operators whose latencies are formulas gives steps whose times are formulas."""

import itertools
import shutil

import numpy as np
import pandas as pd
import pytest

from llmsim.errors import InputError
from llmsim.latency.compose import Choices, compose
from llmsim.latency.hardware import Gpu, Model
from llmsim.latency.model import Experts, Quantization, SlidingWindow
from llmsim.latency.operators import Heads, Kernels, Operators
from llmsim.latency.profile import StepProfile
from llmsim.latency.smoothing import isotonic
from llmsim.latency.table import StepTable

PROVENANCE = {"source": "invented", "date": "2026-01-01"}
BANDWIDTH = 2e9  # low, so that element-wise work shows
GPU = Gpu(
    name="toy",
    memory_bytes=10**9,
    memory_bandwidth_bytes_per_s=BANDWIDTH,
    bf16_flop_per_s=1e16,
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


def test_decode_beyond_the_measured_context_takes_more_by_what_a_kv_token_takes(ops):
    attention = compose(ops, GPU, MODEL).decode_attention
    column = attention.context_tokens.index(131_072)

    assert attention.measured_context_tokens == (4096, 4096, 4096)
    for sequences, row in zip(attention.sequences, attention.time_s, strict=True):
        assert row[column] == pytest.approx(3 * decode_ms(sequences, 131_072, 4) * 1e-3, rel=1e-4)


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


def test_more_kv_heads_than_measured_are_fewer_of_more_sequences(ops):
    heads = Heads(query=24, kv=8)  # measured: 4 KV heads, of 1, 2 and 64 sequences
    table = Operators(ops, "toy_sxm").decode_attention_s(heads)

    assert table.loc[64, 1] == pytest.approx(1e-3 * decode_ms(2, 64, 4))
    assert table.loc[64, 2] == pytest.approx(1e-3 * decode_ms(4, 64, 4))
    assert list(table.columns) == [1, 2]  # 128 sequences were not measured


def test_heads_that_prompts_were_not_measured_with_are_named(ops):
    model = MODEL.model_copy(update={"num_attention_heads": 16, "num_key_value_heads": 8})
    with pytest.raises(InputError, match="context_attention with 16 heads, 8 KV heads of 128, bfloat16 KV cache was"):
        compose(ops, GPU, model)


def test_one_slow_cell_stays_alone(ops):
    path = ops / "toy_sxm/attention/vllm/0.1.0/generation_attention_perf.parquet"
    data = pd.read_parquet(path)
    cell = (data.batch_size == 2) & (data.step == 63) & (data.kv_cache_dtype == "bfloat16")
    before = compose(ops, GPU, MODEL)
    data.loc[cell, "latency"] *= 500  # slower than any cell of more work
    data.to_parquet(path)
    after = compose(ops, GPU, MODEL)

    assert any("of 2 x 64 left out" in note for note in after.provenance.notes)
    rows = zip(before.decode_attention.time_s, after.decode_attention.time_s, strict=True)
    for one, other in rows:
        assert other == pytest.approx(one, rel=0.35)  # the cell itself as its neighbours say, all others as they were
    assert after.decode_attention.time_s[-1] == before.decode_attention.time_s[-1]


def test_engine_and_version_are_never_guessed(ops):
    shutil.copytree(ops / "toy_sxm/gemm/vllm/0.1.0", ops / "toy_sxm/gemm/vllm/0.2.0")
    with pytest.raises(InputError, match=r"operators of vllm/0\.1\.0, vllm/0\.2\.0; say which"):
        compose(ops, GPU, MODEL)
    with pytest.raises(InputError, match=r"nothing of vllm/0\.1; did you mean 'vllm/0\.1\.0'"):
        compose(ops, GPU, MODEL, 1, Choices(Kernels("vllm", "0.1")))
    with pytest.raises(InputError, match=r"no .*_perf\.parquet of vllm/0\.2\.0"):
        compose(ops, GPU, MODEL, 1, Choices(Kernels("vllm", "0.2.0")))
    assert compose(ops, GPU, MODEL, 1, Choices(Kernels("vllm", "0.1.0"))).linear


def test_matrix_products_that_hold_launches_are_refused(ops):
    path = ops / "toy_sxm/gemm/vllm/0.1.0/gemm_perf.parquet"
    data = pd.read_parquet(path)
    pd.concat([data, data.assign(gemm_dtype="fp8_block", latency=0.05)]).to_parquet(path)
    model = MODEL.model_copy(update={"quantization": Quantization(dtype="fp8_block", bits=8)})

    with pytest.raises(InputError, match=r"fp8_block of vllm/0\.1\.0 take 50 us and more, whatever their size"):
        compose(ops, GPU, model)


EXPERTS = Experts(num_experts=16, num_experts_per_tok=4, moe_intermediate_size=512)


def moe_ms(tokens):
    """Of evenly dealt tokens: 0.3 ms to read all 16 experts at 85 % of the bandwidth, and what is computed."""
    awake = min(16, 4 * tokens)
    return 0.01 + awake * 3 * 1024 * 512 * 2 / BANDWIDTH * 1e3 * 1.15 + 1e-4 * tokens


@pytest.fixture
def ops_with_experts(ops):
    path = ops / "toy_sxm/moe/vllm/0.1.0"
    path.mkdir(parents=True)
    shared = {"hidden_size": 1024, "inter_size": 512, "topk": 4, "num_experts": 16, "moe_tp_size": 1, "moe_ep_size": 1}
    rows = [
        {**shared, "moe_dtype": dtype, "num_tokens": n, "distribution": kind, "latency": slow * moe_ms(n)}
        for n in [1, 2, 4, 8, 16, 32, 64, 128, 1024, 16384]
        for dtype, kind, slow in [("bfloat16", "balanced", 1), ("bfloat16", "power_law_1.2", 3), ("fp8", "balanced", 9)]
    ]
    pd.DataFrame(rows).to_parquet(path / "moe_perf.parquet")
    return ops


@pytest.mark.parametrize("tokens", [1, 2, 8, 64, 1024])
def test_experts_take_what_their_curve_says_of_as_many_awake(ops_with_experts, tokens):
    model = MODEL.model_copy(update={"experts": EXPERTS})
    profile = compose(ops_with_experts, GPU, model)
    dense = compose(ops_with_experts, GPU, MODEL)

    at = profile.linear.tokens
    awake = 16 * (1 - 0.75**tokens)
    even = awake / 4 if awake < 0.995 * 16 else tokens
    low = 2 ** int(np.floor(np.log2(even)))  # the curve is linear between powers of two up to 128, then to 1024
    mlp_s = 1e-3 * (gemm_ms(tokens, 6000, 1024) + gemm_ms(tokens, 1024, 3000))
    mlp_s += tokens * 6 * 3000 / (0.8 * BANDWIDTH) + 3e-6
    router_s = 1e-3 * gemm_ms(tokens, 512, 1024)  # narrower than any measured product: as the narrowest
    moe_s = 1e-3 * (moe_ms(low) + (moe_ms(2 * low) - moe_ms(low)) * (even - low) / low)
    expected = 3 * (router_s + moe_s - mlp_s)
    found = np.interp(tokens, at, profile.linear.time_s) - np.interp(tokens, dense.linear.tokens, dense.linear.time_s)
    assert found == pytest.approx(expected, rel=0.02, abs=3e-3 * expected)


def test_skewed_routing_reads_its_own_curve(ops_with_experts):
    model = MODEL.model_copy(update={"experts": EXPERTS})
    even = compose(ops_with_experts, GPU, model)
    skewed = compose(ops_with_experts, GPU, model, 1, Choices(routing="power_law_1.2"))

    more_s = np.interp(1024, skewed.linear.tokens, skewed.linear.time_s) - np.interp(
        1024, even.linear.tokens, even.linear.time_s
    )
    assert more_s == pytest.approx(3 * 2e-3 * moe_ms(1024), rel=0.02)
    with pytest.raises(InputError, match=r"power_law_9 were not measured \(vllm/0\.1\.0\)"):
        compose(ops_with_experts, GPU, model, 1, Choices(routing="power_law_9"))


@pytest.mark.parametrize("factor", [0.5, 4.0])
def test_experts_that_beat_the_memory_or_wait_are_refused(ops_with_experts, factor):
    path = ops_with_experts / "toy_sxm/moe/vllm/0.1.0/moe_perf.parquet"
    data = pd.read_parquet(path)
    data.assign(latency=factor * data.latency).to_parquet(path)
    with pytest.raises(
        InputError, match="% of the time to read all of them at the peak bandwidth; expected 90 to 400 %"
    ):
        compose(ops_with_experts, GPU, MODEL.model_copy(update={"experts": EXPERTS}))


def test_layers_with_a_window_take_their_own_curve(ops):
    path = ops / "toy_sxm/attention/vllm/0.1.0/generation_attention_perf.parquet"
    data = pd.read_parquet(path)
    inside = data.assign(window_size=128, latency=decode_ms(data.batch_size, np.minimum(data.step + 1, 128), 4))
    pd.concat([data.assign(window_size=0), inside]).to_parquet(path)
    model = MODEL.model_copy(update={"sliding_window": SlidingWindow(tokens=128, layers=2)})
    profile = compose(ops, GPU, model)

    # one layer attends to all 4,096 tokens, two to 128; prompts: windows were measured 129 times as slow
    at = profile.decode_attention.context_tokens.index(4096)
    expected = 1e-3 * (decode_ms(64, 4096, 4) + 2 * decode_ms(64, 128, 4))
    assert profile.decode_attention.time_s[-1][at] == pytest.approx(expected, rel=1e-3)
    assert profile.prefill_attention.alone_s[-1] == pytest.approx(
        1e-3 * (1 + 2 * 129) * prefill_ms(1, 8192, 12), rel=1e-3
    )


def test_a_cache_in_fp8_reads_its_own_tables(ops):
    path = ops / "toy_sxm/attention/vllm/0.1.0"
    for operator in ("generation_attention", "context_attention"):
        data = pd.read_parquet(path / f"{operator}_perf.parquet")
        own = data[data.kv_cache_dtype == "bfloat16"]
        fp8 = own.assign(kv_cache_dtype="fp8", latency=own.latency / 2)
        pd.concat([data, fp8]).to_parquet(path / f"{operator}_perf.parquet")
    half, whole = compose(ops, GPU, MODEL.with_kv_cache("fp8")), compose(ops, GPU, MODEL)

    assert half.architecture.kv_cache_dtype == "fp8"
    assert np.array(half.decode_attention.time_s) == pytest.approx(
        np.array(whole.decode_attention.time_s) / 2, rel=1e-4
    )


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
        (GPU, MODEL.model_copy(update={"head_dim": 64}), 1, "12 heads, 4 KV heads of 64, bfloat16 KV cache was not"),
        (GPU, MODEL.with_kv_cache("fp8"), 1, "of 128, fp8 KV cache was not measured"),
        (GPU, MODEL.model_copy(update={"quantization": Quantization(dtype="int4", bits=4)}), 1, "products in int4"),
        (
            GPU,
            MODEL.model_copy(update={"num_attention_heads": 64}),
            1,
            "64 heads, 4 KV heads of 128, bfloat16 KV cache was not measured",
        ),
        (GPU, MODEL, 5, "expected a divisor"),
        (GPU.model_copy(update={"bf16_flop_per_s": 1e14}), MODEL, 1, "17.4 x the FLOP/s of toy; it was not measured"),
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


def test_a_shared_expert_is_one_more_where_the_engine_has_it_so(ops_with_experts):
    shutil.copytree(ops_with_experts / "toy_sxm/moe/vllm", ops_with_experts / "toy_sxm/moe/sglang")
    for folder in ("gemm", "attention"):
        shutil.copytree(
            ops_with_experts / "toy_sxm" / folder / "vllm", ops_with_experts / "toy_sxm" / folder / "sglang"
        )
    shared = EXPERTS.model_copy(update={"shared_intermediate_size": 512})
    own, none = (MODEL.model_copy(update={"experts": experts}) for experts in (shared, EXPERTS))

    def one_s(model, backend):
        return compose(ops_with_experts, GPU, model, 1, Choices(Kernels(backend, "0.1.0"))).linear.time_s[0]

    apart_s = 1e-3 * (gemm_ms(1, 1024, 1024) + gemm_ms(1, 1024, 512)) + 6 * 512 / (0.8 * BANDWIDTH) + 3e-6
    assert one_s(own, "vllm") - one_s(none, "vllm") == pytest.approx(3 * apart_s, rel=0.01)
    fifth_s = 1e-3 * (moe_ms(2) - moe_ms(1)) / 4  # four are awake, and one of the next four
    assert one_s(own, "sglang") - one_s(none, "sglang") == pytest.approx(3 * fifth_s, rel=0.01)
