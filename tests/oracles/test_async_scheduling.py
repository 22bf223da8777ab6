"""Asynchronous scheduling against vLLM's own AsyncScheduler, and against naive engines with two batches in flight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.cluster import RunOptions, simulate
from llmsim.request import Outcome
from llmsim.routers.round_robin import RoundRobin
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.studies.validation.cases.vllm_decisions import spec_of
from llmsim.studies.validation.decision_runs import (
    TICK_S,
    Fate,
    TickedSteps,
    VllmRun,
    VllmSettings,
    read_run,
    workload_of,
)
from llmsim.studies.validation.decisions import fates_of
from llmsim.testing import serve_both_ways, workload
from llmsim.workload.asked import Asked, exactly
from llmsim.workload.contract import Workload
from llmsim.workload.patience import Patience
from tests.oracles import async_naive
from tests.oracles.vllm_naive import Engine
from tests.oracles.vllm_workloads import drawn
from tests.places import DATA, cases, needs

FOLDER = DATA / "peers" / "vllm"


def outcomes(run, stretches):
    """What becomes of each request of a workload whose clients say how long outputs will be."""
    requests = replace(run.workload, asked=exactly(run.workload.output_tokens))
    spec = replace(spec_of(run), async_scheduling=True)
    record = simulate(requests, [spec], RoundRobin(), np.random.default_rng(0), RunOptions(stretches=stretches))
    return fates_of(record, {})


def without_hits(fates):
    return [fate._replace(found=[]) for fate in fates]


@needs("peers/vllm")
@pytest.mark.parametrize("stretches", [True, False])
def test_every_request_fares_as_under_vllms_own_scheduler(stretches):
    files = sorted(FOLDER.glob("*.json"))
    assert len(files) == 40
    for file in files:
        run = read_run(file)
        assert outcomes(run, stretches) == without_hits(run.async_outcome), file.name


@pytest.mark.parametrize("caching", [False, True])
@pytest.mark.parametrize("policy", ["fcfs", "priority"])
@pytest.mark.parametrize("seed", [53, 58, 154, 207, 297, *range(60, 60 + cases(14))])
def test_random_workloads_fare_as_with_a_naive_engine(seed, policy, caching):
    settings, times, requests = drawn(seed, prefix_caching=caching, policy=policy)
    engine = Engine(settings, times, requests).run(2)
    run = VllmRun("drawn", VllmSettings(**settings), TickedSteps(**times), workload_of("drawn", requests), [], [], [])

    assert outcomes(run, True) == without_hits([Fate(*fate) for fate in engine.outcome])


#: ticks of a step; as many more for each prefilled token, decoding request, and token of context
TIMES = [(16384, 0, 0, 0), (4096, 64, 128, 1), (8192, 256, 0, 8)]


@st.composite
def loads(draw):
    n = draw(st.integers(1, 25))
    gap = draw(st.sampled_from([0, 3000, 20_000, 300_000]))
    rows = st.tuples(st.integers(0, 3), st.integers(1, 60), st.integers(1, 40), st.booleans())
    gaps, prompts, outputs, known = zip(*draw(st.lists(rows, min_size=n, max_size=n)), strict=True)
    patience = draw(st.sampled_from([None, 20_000, 150_000]))
    arrival_s = np.cumsum(np.array(gaps) * gap) * TICK_S
    requests = Workload(arrival_s, np.array(prompts), np.array(outputs), "drawn")
    longer = np.where(known, 0, 1)
    requests = replace(requests, asked=Asked(requests.output_tokens + longer, np.zeros(n, dtype=np.bool_)))
    return requests, known, np.inf if patience is None else patience * TICK_S


@settings(max_examples=cases(100), deadline=None)
@given(
    load=loads(),
    times=st.sampled_from(TIMES),
    blocks=st.integers(25, 60),
    seats=st.sampled_from([1, 2, 5, 16]),
    budget=st.sampled_from([16, 64, 1000]),
)
def test_ends_that_no_engine_foresees_and_users_that_leave(load, times, blocks, seats, budget):
    requests, known, patience_s = load
    latency = TickedSteps(*times)
    columns = (requests.arrival_s.tolist(), requests.prompt_tokens.tolist(), requests.output_tokens.tolist(), known)
    naive = async_naive.Engine(
        [async_naive.Request(*row, row[0] + patience_s) for row in zip(*columns, strict=True)],
        budget=budget,
        seats=seats,
        blocks=blocks,
        size=4,
        step_s=lambda prefilled, decoding, context: latency.step_time_s([(0, prefilled)], decoding, context),
    ).run()
    n = len(requests)
    records = serve_both_ways(
        requests,
        ChunkedPrefill(max_num_batched_tokens=budget, max_num_seqs=seats),
        latency=latency,
        num_gpu_blocks=blocks,
        block_tokens=4,
        patience=Patience(np.full(n, patience_s), np.full(n, np.inf), 0.0) if patience_s < np.inf else None,
        async_scheduling=True,
    )

    for record in records:
        rows = record.requests
        for name in ("first_scheduled_s", "first_token_s", "end_s", "preemptions"):
            np.testing.assert_array_equal(rows[name], [getattr(each, name) for each in naive.requests], name)
        expected = {"finished": Outcome.FINISHED, "cancelled": Outcome.CANCELLED}
        assert rows["outcome"].tolist() == [expected[each.outcome] for each in naive.requests]


def test_by_hand():
    """Steps of 1 s. A comes to an idle engine: prefill at 0, then a token in each step. B comes at 0.5, during step 1.

    Step 2 is decided already: B joins step 3, [2, 3], and not step 2 as it would synchronously. A ends with its third
    token at 3. The engine does not know that in advance, so step 4 computes one more token of A in vain; C, for which
    there is a seat when A's is free, is decided at 3 into step 5, [4, 5].
    """
    requests = workload((0.0, 10, 3), (0.5, 10, 9), (0.5, 10, 1))
    latency = TickedSteps(2**20, 0, 0, 0)
    scheduler = ChunkedPrefill(max_num_seqs=2)
    record, _ = serve_both_ways(requests, scheduler, latency=latency, async_scheduling=True)

    assert record.requests["first_scheduled_s"].tolist() == [0.0, 1.0, 3.0]
    assert record.requests["first_token_s"].tolist() == [1.0, 3.0, 5.0]
    assert record.requests["end_s"].tolist() == [3.0, 11.0, 5.0]
    decoding = dict(zip(record.steps["start_s"], record.steps["decoding"], strict=True))
    assert decoding[3.0] == 2  # A's in vain, and B's


def test_an_engine_that_knows_the_length_computes_nothing_in_vain():
    requests = workload((0.0, 10, 3), (0.5, 10, 9), (0.5, 10, 1))
    requests = replace(requests, asked=exactly(requests.output_tokens))
    latency = TickedSteps(2**20, 0, 0, 0)
    record, _ = serve_both_ways(requests, ChunkedPrefill(max_num_seqs=2), latency=latency, async_scheduling=True)

    assert record.requests["end_s"].tolist() == [3.0, 11.0, 5.0]
    decoding = dict(zip(record.steps["start_s"], record.steps["decoding"], strict=True))
    assert decoding[3.0] == 1
