"""Hits of a cache without limits: as published for the Mooncake traces (FAST '25), and in closed form."""

from __future__ import annotations

import gzip
import json
import math

import numpy as np
import pytest

from llmsim.experiment import run
from llmsim.scenario import load_scenario
from llmsim.workload.trace_stats import describe
from llmsim.workload.traces import read_trace
from places import evidence

PUBLISHED = {"conversation": 0.366, "synthetic": 0.640}
UNLIMITED = ["cluster.prefix_caching=true", "cluster.num_gpu_blocks=100000000", "cluster.instances=1"]


def trace(name):
    return evidence(f"traces/mooncake/{name}_trace.jsonl.gz")


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_traces_share_what_is_published(name):
    seen, hits, blocks = set(), 0, 0
    for line in gzip.decompress(trace(name).read_bytes()).splitlines():  # counted with nothing of llmsim
        ids = json.loads(line)["hash_ids"]
        hits += sum(number in seen for number in ids)
        blocks += len(ids)
        seen.update(ids)
    stats = describe(read_trace(trace(name)))

    assert stats.infinite_cache_block_hit_ratio == hits / blocks
    assert round(hits / blocks, 3) == PUBLISHED[name]


def test_a_simulated_cache_without_limits_hits_what_is_published():
    """The shorter trace, from end to end; in blocks of 512 tokens, as the paper counts, and in tokens.

    The paper counts a cut block that recurs as a hit; an engine computes the last token's block of 16 anew, which is
    all of the cut block if that is no longer. It takes 213 prompts that recur whole to make 0.0002 of the ratio.
    """
    changes = [*UNLIMITED, f"workload.trace={trace('synthetic')}", "cluster.max_model_len=200000"]
    score = run(load_scenario("mooncake_conversation", changes)).score
    tokens = describe(read_trace(trace("synthetic"))).infinite_cache_hit_ratio

    assert score["requests"]["finished"] == score["requests"]["total"]
    assert score["prefix_cache"]["trace_block_hit_ratio"] == pytest.approx(PUBLISHED["synthetic"], abs=1e-3)
    assert score["prefix_cache"]["hit_ratio"] == pytest.approx(tokens, abs=1e-3)


def test_shared_prefixes_hit_in_closed_form():
    """S system prompts, U users of each, all of whom ask: only first requests find less than both texts."""
    systems, users, system_tokens, user_tokens = 3, 4, 112, 48
    changes = [
        "cluster.num_gpu_blocks=10000",
        "workload.requests=300",
        f"workload.prefixes.system_prompts={systems}",
        f"workload.prefixes.users={users}",
        f"workload.prefixes.system_tokens={system_tokens}",
        f"workload.prefixes.user_tokens={user_tokens}",
    ]
    cached = (300 - systems * users) * (system_tokens + user_tokens) + (systems * users - systems) * system_tokens
    for order in ("random", "cycle"):
        score = run(load_scenario("prefix_caching", [*changes, f"workload.prefixes.order={order}"])).score

        assert score["prefix_cache"]["cached_tokens"] == cached
        assert score["prefix_cache"]["prompt_tokens"] == 300 * (system_tokens + user_tokens + 30)
        assert math.isclose(score["prefix_cache"]["hit_ratio"], cached / (300 * 190))


def test_time_to_first_token_falls_and_without_the_key_nothing_is_reported():
    on, off = (
        run(load_scenario("prefix_caching", ["workload.requests=300", f"cluster.prefix_caching={flag}"]))
        for flag in ("true", "false")
    )

    assert on.score["ttft_s"]["mean"] < off.score["ttft_s"]["mean"]
    assert on.score["ttft_s"]["p99"] < off.score["ttft_s"]["p99"]
    assert "prefix_cache" not in off.score
    assert not off.record.requests["cached_tokens"].any()
    assert np.array_equal(on.record.requests["arrival_s"], off.record.requests["arrival_s"])
