"""What a request costs with prefix caching, in calls of functions: not more for long histories than for short ones."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import serve
from llmsim.workload.contract import Workload
from llmsim.workload.prefixes import Prefixes

REQUESTS = 512
OUTPUT = 32


def calls(requests, blocks):
    """Calls for each request, and how many tokens it has found."""
    count = 0

    def count_calls(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(count_calls)
    try:
        record = serve(
            requests,
            ChunkedPrefill(max_num_batched_tokens=100_000),
            prefix_caching=True,
            num_gpu_blocks=blocks,
            max_model_len=1_000_000,
        )
    finally:
        sys.setprofile(None)
    return count / len(requests), record.requests["cached_tokens"].sum() / len(requests)


def conversations(turns, question_tokens=40):
    """As many requests, whatever the number of turns: each turn repeats all before it, answers included."""
    turn = np.arange(REQUESTS) % turns
    conversation = np.arange(REQUESTS) // turns
    prompt = (turn + 1) * question_tokens + turn * OUTPUT
    ids = [conversation[r] * 1000 + part for r in range(REQUESTS) for part in range(turn[r] + 1)]
    ends = [(part + 1) * (question_tokens + OUTPUT) for r in range(REQUESTS) for part in range(turn[r] + 1)]
    start = np.concatenate([[0], np.cumsum(turn + 1)])
    prefixes = Prefixes(np.array(ids), np.array(ends), start)
    arrival_s = np.arange(REQUESTS) * 2.0  # one after another
    return Workload(arrival_s, prompt, np.full(REQUESTS, OUTPUT), "conversations", prefixes)


def documents(tokens, kinds=8):
    """Questions to long texts, which are the same again and again."""
    prompt = np.full(REQUESTS, tokens + 40)
    prefixes = Prefixes(np.arange(REQUESTS) % kinds, np.full(REQUESTS, tokens), np.arange(REQUESTS + 1))
    return Workload(np.arange(REQUESTS) * 20.0, prompt, np.full(REQUESTS, OUTPUT), "documents", prefixes)


@pytest.mark.parametrize("blocks", [40_000, 800])  # all is kept; what was not used for longest is evicted
def test_a_turn_costs_what_it_adds(blocks):
    (few, _), (many, found) = calls(conversations(8), blocks), calls(conversations(128), blocks)

    assert many < 1.1 * few
    assert found > 3000


def test_a_long_text_costs_what_a_short_one_does():
    (short, _), (long, found) = calls(documents(500), 40_000), calls(documents(16 * 500), 40_000)

    assert long < 1.1 * short
    assert found > 7000


def test_evicting_a_long_text_costs_what_evicting_a_short_one_does():
    (short, some), (long, found) = calls(documents(500), 5 * 33), calls(documents(16 * 500), 5 * 502)

    assert long < 1.1 * short
    assert some == found == 0  # eight texts where there is room for five, in turn


def test_memory_that_is_larger_costs_no_more():
    (small, _), (large, _) = calls(documents(500), 600), calls(documents(500), 16 * 600)

    assert large < 1.1 * small
