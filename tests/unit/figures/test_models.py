"""Figures of models: what is known of them by hand, and what they say of numbers that are made up."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.figures import kv_memory, mixtures


def test_as_many_tokens_wake_nearly_all_experts_as_was_worked_out_by_hand():
    """NEXT_SYSTEMS.md, 3.10: 11 of Mixtral, 47 of Qwen3, 95 of GPT-OSS and V3."""
    assert [mixtures.nearly_all_awake(name) for name in mixtures.ROUTED] == [11, 47, 95, 95]


def test_mixtures_need_larger_batches():
    """There, of vLLM 0.24: rates grow 44 x against 13 x, the mixture is ahead to 2 sequences, half is at 200 and 450.

    The dense model's shipped times are of vLLM 0.19's tables, which end at half as many tokens for many sequences.
    """
    made = mixtures.make({}, False)

    assert made.claim.passed
    assert "tokens/s grow 48 x (llama-3.1-8b) and 13 x (qwen3-30b-a3b)" in made.claim.evidence[0]
    assert "slower than llama-3.1-8b from 4 on" in made.claim.evidence[1]
    assert mixtures.half_batch("qwen3-30b-a3b") > 1.5 * mixtures.half_batch("llama-3.1-8b")
    steps_s = np.asarray(made.tables["mixtures"]["qwen3-30b-a3b step_s"])
    assert steps_s[[0, 3, 6, 8]] == pytest.approx([4.71e-3, 11.5e-3, 23.6e-3, 29.9e-3], rel=0.01)


@pytest.mark.parametrize(("more", "passed"), [(0.3, True), (0.0, False)])
def test_keys_and_values_in_fp8_carry_more_or_not(monkeypatch, more, passed):
    def attained(name, rate_per_s, requests):
        return 1.0 if rate_per_s <= 0.2 + more * (name == "fp8") else 0.5

    monkeypatch.setattr(kv_memory, "_attained", attained)
    claim = kv_memory.make({}, True).claim

    assert claim.passed is passed
    assert "2,028 blocks in bf16, 4,057 in fp8" in claim.evidence[0]


def test_the_largest_rate_has_all_smaller_ones_below_it():
    shares = tuple(1.0 if rate <= 0.4 else 0.0 for rate in kv_memory.RATES_PER_S)

    assert kv_memory.Kept(1, 1.0, shares).carries_per_s == 0.4
    assert kv_memory.Kept(1, 1.0, (0.0,) * len(shares)).carries_per_s == 0.0
