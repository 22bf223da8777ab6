"""Token times as ranges of steps that yield several tokens: every metric equals that of the same times in full."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmsim import delivery
from llmsim.engine.speculation.rule import Speculation
from llmsim.metrics import ranges
from llmsim.metrics.fluidity import fluidity_index
from llmsim.metrics.gaps import pooled_gaps
from llmsim.metrics.gpu_time import busy_gpu_s, spent_gpu_s
from llmsim.metrics.manipulate import drop_those_that_miss
from llmsim.metrics.qoe import qoe
from llmsim.record import Timelines
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.slo import Slo
from llmsim.testing import LinearSteps, serve
from llmsim.testing.builders import drawn
from llmsim.workload.acceptance import Acceptance, draw_steps

LENGTHS = (100, 180, 217), (100, 200, 300)


@pytest.fixture(scope="module", params=[(28, "even"), (1000, "even"), (28, "random"), (1000, "random")], ids=str)
def record(request):
    blocks, kind = request.param
    rng = np.random.default_rng(blocks)
    n = 60
    requests, of_request = drawn(rng, n, 20.0), rng.integers(0, 2, n)
    acceptance = Acceptance(LENGTHS, of_request, rng.integers(0, 100, n))
    if kind == "random":
        acceptance = draw_steps(rng, LENGTHS, of_request, 2)
    rule = Speculation(((1, 2),), 2, {2: LinearSteps(0.01, 1e-4, 1e-4, 1e-6)})
    given = replace(requests, acceptance=acceptance)
    return serve(given, ChunkedPrefill(), speculation=rule, num_gpu_blocks=blocks)


@pytest.fixture
def both(record):
    """The same token times in ranges, and each on its own."""
    compact = record.timelines()
    assert compact.paces is not None
    each = [compact.token_times_s(i) for i in range(len(compact))]
    return compact, Timelines.from_token_times(
        compact.arrival_s,
        each,
        end_s=compact.end_s,
        outcome=compact.outcome,
        prompt_tokens=compact.prompt_tokens,
        output_tokens=compact.output_tokens,
    )


@pytest.mark.parametrize(
    "metric",
    [
        ranges.n_tokens,
        ranges.first_token_s,
        ranges.last_token_s,
        ranges.largest_gap_s,
        lambda t: ranges.max_over_line_s(t, 0.02),
        lambda t: ranges.max_over_line_s(t, 0.004),
        lambda t: ranges.delivered_by(t, 1.7),
        lambda t: ranges.delivered_by(t, 3.33),
        lambda t: qoe(t, ttft_s=0.5, tokens_per_s=40.0),
        lambda t: fluidity_index(t, prefill_s=0.5, decode_s=0.01),
        lambda t: ranges.n_tokens(delivery.until_left(t, np.where(np.arange(len(t)) % 2, 1.5, np.nan))),
        lambda t: ranges.last_token_s(delivery.paced(t, tbt_s=0.03)),
        lambda t: ranges.last_token_s(delivery.paced(t, tokens_per_s=25.0)),
        lambda t: ranges.max_over_line_s(ranges.select(t, np.arange(len(t)) % 3 > 0), 0.01),
    ],
)
def test_metrics_equal_those_of_the_same_times_in_full(both, metric):
    compact, full = both
    np.testing.assert_allclose(metric(compact), metric(full), rtol=1e-12)


def test_gaps_are_those_between_chunks_of_a_stream(both):
    compact, full = both
    (gaps_s, seen), (every_s, each) = pooled_gaps(compact), pooled_gaps(full)
    between = np.sort(np.repeat(every_s, each))
    assert (between == 0).any()
    np.testing.assert_allclose(np.sort(np.repeat(gaps_s, seen)), between[between > 0], rtol=1e-9)


@pytest.mark.parametrize(
    "changed",
    [
        lambda t: drop_those_that_miss(t, Slo(ttft_s=1e6)),
        lambda t: delivery.paced(t, ttft_s=1e-6),
        lambda t: ranges.select(delivery.paced(t, ttft_s=1e-6), np.ones(len(t), np.bool_)),
    ],
)
def test_tokens_that_come_together_do_so_when_their_times_are_written_out(both, changed):
    """Each of these changes no time, and gives tokens one by one."""
    compact, _ = both
    (gaps_s, seen), (as_before_s, before) = pooled_gaps(changed(compact)), pooled_gaps(compact)
    np.testing.assert_allclose(
        np.sort(np.repeat(gaps_s, seen)), np.sort(np.repeat(as_before_s, before)), rtol=1e-9, atol=1e-12
    )


def test_shares_of_gpu_time_add_up(record):
    assert spent_gpu_s(record, [1]).sum() == pytest.approx(busy_gpu_s(record, [1]))
