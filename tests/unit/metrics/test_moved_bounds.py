"""Requests counted at other bounds than those asked for, against the SLO that has these bounds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from llmsim import experiment
from llmsim.experiment.run_scenario import asked_requests
from llmsim.metrics import slo
from llmsim.metrics.distributions import Distributions
from llmsim.metrics.moved_bounds import MOST_MISSING, MovedBounds, PooledBounds, around, of_slo
from llmsim.metrics.scored import Requests
from llmsim.metrics.window import Window
from llmsim.scenario import load_scenario
from llmsim.slo import Slo
from llmsim.statistics.shares import clusters_of


@pytest.fixture(scope="module")
def requests() -> Requests:
    """Requests of the quickstart, some of which miss its SLO."""
    return asked_requests(experiment.run(load_scenario("quickstart", ["workload.requests=200"])), Window())


def test_every_cell_is_what_an_slo_of_these_bounds_finds(requests: Requests) -> None:
    moved = of_slo(requests, Distributions.of(requests))
    assert moved is not None
    steps = list(itertools.product(*moved.bounds.values()))
    order = np.argsort(requests.counted.arrival_s)

    assert len(moved.cells) == len(steps) == 13 * 13
    for bounds_s, cell in zip(steps, moved.cells, strict=True):
        met = slo.meets(requests.counted, Slo(**dict(zip(moved.bounds, bounds_s, strict=True))))[order]
        expected = clusters_of(~met)
        if cell is None:
            assert expected.events > MOST_MISSING * len(met)
        else:
            assert (cell.of, cell.events, cell.squares) == (expected.of, expected.events, expected.squares)
            assert cell.largest >= expected.largest
    assert len({cell and cell.events for cell in moved.cells}) > 5, "the bounds matter"


def test_the_bounds_asked_for_are_in_the_middle(requests: Requests) -> None:
    moved = of_slo(requests, Distributions.of(requests))
    assert moved is not None
    assert moved.asked is not None
    assert requests.slo is not None
    assert {name: steps[len(steps) // 2] for name, steps in moved.bounds.items()} == requests.slo.given()
    assert moved.asked.events == (~slo.meets(requests.counted, requests.slo)).sum()


def test_steps_ascend_and_are_short() -> None:
    for bound_s, together in itertools.product((0.05, 0.1, 0.2049, 1.0, 1.05, 7.3, 99.0), (1, 2, 3)):
        steps = around(bound_s, together)
        assert steps == tuple(sorted(set(steps)))
        assert len(steps) == {1: 19, 2: 13, 3: 5}[together]
        assert steps[len(steps) // 2] == bound_s
        assert steps[0] < 0.4 * bound_s < 2.6 * bound_s < steps[-1]


def test_what_is_kept_is_read_again(requests: Requests) -> None:
    moved = of_slo(requests, Distributions.of(requests))
    assert moved is not None
    assert MovedBounds.from_dict(moved.to_dict()) == moved


def test_runs_together_have_the_requests_of_all(requests: Requests) -> None:
    moved = of_slo(requests, Distributions.of(requests))
    assert moved is not None
    assert moved.asked is not None
    both = PooledBounds.of_runs([moved, moved])
    (asked,) = both.asked_only().cells

    assert both.of == 2 * len(requests.counted)
    assert asked is not None
    assert (asked.events, asked.squares) == (2 * moved.asked.events, 2 * moved.asked.squares)
    assert PooledBounds.from_dict(both.to_dict()) == both


def test_deadlines_of_tokens_stay_as_they_are(requests: Requests) -> None:
    asked = Slo(ttft_s=1.0, token_deadline_s=0.2)
    moved = of_slo(
        Requests(requests.timelines, requests.span, asked, None, None, requests.end_s), Distributions.of(requests)
    )

    assert moved is not None
    assert moved.bounds == {}
    assert moved.asked is not None
    assert moved.asked.events == (~slo.meets(requests.counted, asked)).sum()
