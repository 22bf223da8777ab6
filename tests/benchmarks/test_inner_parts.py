"""The inner parts, timed by pytest-benchmark with --benchmark-enable; without, plain tests that time nothing."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.engine.decode_batch import DecodeBatch
from llmsim.engine.memory import KVMemory
from llmsim.engine.stretch import Stretch
from llmsim.experiment import run
from llmsim.latency.profile import load_profile
from llmsim.latency.table import StepTable
from llmsim.metrics import ranges
from llmsim.metrics.gaps import pooled_gaps
from llmsim.metrics.score import score
from llmsim.metrics.smooth_goodput import User
from llmsim.request import Request
from llmsim.scheduler import Decision, Scheduler
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.fcfs import Fcfs
from llmsim.slo import Slo
from llmsim.studies.bench.workloads import azure_conv
from llmsim.testing import LinearSteps, serve, workload

pytest.importorskip("pytest_benchmark")


@pytest.fixture(scope="module")
def table():
    return StepTable(load_profile("a100-sxm4-80gb", "llama-3.1-8b", 1))


@pytest.fixture(scope="module")
def result():
    return run(azure_conv(400))


@pytest.fixture(scope="module")
def timelines(result):
    return result.record.timelines()


def decoding_batch(sequences):
    batch = DecodeBatch(KVMemory(100_000))
    for id in range(sequences):
        batch.join(Request(id, 0.0, 100 + 37 * id), 1_000_000)
    return batch


@pytest.mark.parametrize("sequences", [8, 256])
def test_a_request_joins_and_leaves_the_decode_batch(benchmark, sequences):
    batch = decoding_batch(sequences)

    def join_and_leave():
        request = Request(sequences, 0.0, 1000)
        batch.join(request, 100)
        return batch.leave(request)

    assert benchmark(join_and_leave) == 0
    assert batch.sequences == sequences


@pytest.mark.parametrize("steps", [1, 50])
def test_the_decode_batch_advances(benchmark, steps):
    memory = KVMemory(10**9)
    batch = DecodeBatch(memory)
    for id in range(64):
        batch.join(Request(id, 0.0, 100 + 37 * id), 10**9)

    assert not benchmark(batch.advance, steps)
    assert batch.context_tokens == sum(100 + 37 * id for id in range(64)) + 64 * batch.counter.steps


def test_the_decode_batch_says_how_far_it_can_go(benchmark):
    batch = decoding_batch(256)

    assert benchmark(batch.steps_ahead, 1000) > 0


@pytest.mark.parametrize("prefill", [(), ((0, 512),), ((1024, 1024), (0, 300), (0, 700))], ids=["none", "one", "three"])
def test_the_time_of_one_step(benchmark, table, prefill):
    assert 0 < benchmark(table.step_time_s, prefill, 64, 64_000) < 1


def test_the_times_of_a_stretch(benchmark, table):
    assert benchmark(table.decode_line, 64, 64_000)[2] > 1


def test_how_many_steps_of_a_stretch_have_ended(benchmark):
    stretch = Stretch().begin(10.0, 0.01, 1e-6, 1000, 0, 500, 64, 64_000, ())

    assert stretch.step_end_s(300) < 13.1 < stretch.step_end_s(320)
    assert 300 <= benchmark(stretch.ended_by, 13.1) < 320


class Replayed(Scheduler):
    """Keeps the busiest view of a run, and what another scheduler says to it, for as long as it is asked."""

    def __init__(self, scheduler, benchmark):
        self.scheduler, self.benchmark, self.done = scheduler, benchmark, False

    def schedule(self, view) -> Decision:
        """Time the decision once there is a queue; the view holds still while it is asked."""
        if view.num_waiting >= 20 and not self.done:
            self.done = True
            return self.benchmark(self.scheduler.schedule, view)
        return self.scheduler.schedule(view)


@pytest.mark.parametrize("scheduler", [ChunkedPrefill(), Fcfs()])
def test_a_scheduler_decides(benchmark, scheduler):
    replayed = Replayed(scheduler, benchmark)
    record = serve(workload(*[(0.001 * i, 500, 20) for i in range(60)]), replayed, num_gpu_blocks=10_000)

    assert replayed.done
    assert (record.requests["emitted_tokens"] == 20).all()


def test_range_maxima_over_step_ends(benchmark, timelines):
    latest_s = benchmark(ranges.max_over_line_s, timelines, 0.0)

    np.testing.assert_array_equal(latest_s, ranges.last_token_s(timelines))


def test_gaps_of_all_tokens(benchmark, timelines):
    _, weights = benchmark(pooled_gaps, timelines)

    assert weights.sum() == (ranges.n_tokens(timelines) - 1).sum()


def test_the_score(benchmark, result, timelines):
    values = benchmark(score, timelines, slo=Slo(ttft_s=1.0, tbt_s=0.1), user=User(), end_s=result.record.end_s)

    assert values["output_tokens"] == result.record.requests["emitted_tokens"].sum()


def test_a_small_run(benchmark):
    requests = workload(*[(0.05 * i, 200 + i, 50 + i % 7) for i in range(100)])
    record = benchmark(serve, requests, ChunkedPrefill(), latency=LinearSteps())

    assert record.requests["emitted_tokens"].sum() == requests.output_tokens.sum()
