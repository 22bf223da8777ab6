"""Service of tenants over time, by hand and against counting every token."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmsim import experiment
from llmsim.metrics.service import (
    Service,
    both,
    jain_while_all_wait,
    largest_gap_tokens,
    services,
    spans_covered,
)
from llmsim.scenario import load_scenario
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import serve
from llmsim.testing.builders import drawn
from llmsim.workload.classes import Classes


def service(waits_s, *events):
    times_s, tokens = zip(*events, strict=True)
    return Service(np.array(times_s), np.cumsum(tokens).astype(float), np.array(waits_s, dtype=float))


def test_spans_by_hand():
    assert spans_covered(np.array([0.0, 2, 1]), np.array([1.0, 4, 3]), 1).tolist() == [[0, 4]]
    assert spans_covered(np.array([0.0, 2, 1]), np.array([1.0, 4, 3]), 2).tolist() == [[2, 3]]
    assert spans_covered(np.array([1.0, 5]), np.array([1.0, 6]), 1).tolist() == [[5, 6]]
    assert both(np.array([[0.0, 5], [7, 9]]), np.array([[4.0, 8]])).tolist() == [[4, 5], [7, 8]]


def test_the_gap_counts_while_both_wait():
    """One gets 10 at 1 s, 2 s and 9 s; the other 7 at 3 s. Both wait from 1 to 5 s: 10, 0, then 7 the other way."""
    one = service([[0.0, 5.0]], (1.0, 10), (2.0, 10), (9.0, 10))
    two = service([[1.0, 20.0]], (3.0, 7))

    assert largest_gap_tokens(one, two) == 10
    assert largest_gap_tokens(two, one) == 10
    assert largest_gap_tokens(one, service([[6.0, 20.0]], (3.0, 7))) == 0


def test_the_index_is_of_what_is_got_while_all_wait():
    one = service([[0.0, 5.0]], (1.0, 10), (2.0, 10), (9.0, 10))
    two = service([[1.0, 20.0]], (3.0, 30))

    assert jain_while_all_wait([one, two], np.ones(2)) == pytest.approx((10 + 30) ** 2 / (2 * (10**2 + 30**2)))
    assert jain_while_all_wait([one, two], np.array([1.0, 3.0])) == pytest.approx(1.0)
    assert np.isnan(jain_while_all_wait([one, service([[6.0, 7.0]], (3.0, 1))], np.ones(2)))


@pytest.mark.parametrize("instances", [1, 2])
def test_it_is_every_token_counted_one_by_one(instances):
    rng = np.random.default_rng(3)
    requests = drawn(rng, 60, 20.0)
    requests = replace(requests, classes=Classes(rng.integers(0, 2, 60), ("a", "b"), (0, 0)))
    record = serve(requests, ChunkedPrefill(max_num_seqs=8), num_gpu_blocks=60, instances=instances)
    tenant, timelines = record.requests["class"], record.timelines()
    times_s = rng.uniform(0, record.end_s, 50)
    for number, found in enumerate(services(record, tenant, 2)):
        prompts = [
            record.requests["prompt_tokens"][(tenant == number) & (record.requests["first_scheduled_s"] <= t)].sum()
            for t in times_s
        ]
        outputs = [
            sum(np.sum(timelines.token_times_s(id) <= t) for id in np.flatnonzero(tenant == number)) for t in times_s
        ]
        assert found.by(times_s).tolist() == [p + 2 * o for p, o in zip(prompts, outputs, strict=True)]


def test_a_run_with_several_tenants_says_how_fair_it_was():
    classes = '[{name="a", weight=1.0, tenant="x"}, {name="b", weight=1.0, tenant="x"}, {name="c", weight=2.0}]'
    result = experiment.run(load_scenario("quickstart", ["workload.requests=60", f"workload.classes={classes}"]))
    requests, fairness = result.record.requests, result.score["fairness"]
    service = requests["prompt_tokens"] + 2 * requests["output_tokens"]
    ones = requests["class"] < 2

    assert fairness["service_tokens"] == {"x": service[ones].sum(), "c": service[~ones].sum()}
