"""Crossings of curves and what an error of step times does to them, on curves whose crossing is known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llmsim.latency.residuals import COMPOSED, RESIDUALS, Kind
from llmsim.studies.validation.cases.capacity import TAIL, Curve, held

KIND = Kind(COMPOSED, host=True, full=False)
LOADS = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])


def curve(error: float, *, closed: bool = True) -> Curve:
    """A latency in proportion to the load, and predicted so many times too high."""
    return Curve("group", "label", KIND, closed, LOADS, 0.01 * LOADS, error * 0.01 * LOADS)


def test_a_curve_that_is_predicted_rightly_crosses_where_it_was_measured() -> None:
    found = held(curve(1.0))

    assert found.measured == pytest.approx(math.sqrt(4 * 8))
    assert found.predicted == pytest.approx(found.measured)
    assert found.covered


def test_steps_that_are_longer_let_fewer_clients_in_and_open_loads_once_more() -> None:
    """Clients: latency f c, so that 1 / f as many cross. Requests: f times the latency at f r, so that 1 / f² do."""
    assert curve(1.0).predicted(2.0) == pytest.approx(curve(1.0).predicted() / 2)
    assert curve(1.0, closed=False).predicted(2.0) == pytest.approx(curve(1.0).predicted() / 4)


@pytest.mark.parametrize(
    ("quantile", "covered"), [(TAIL / 2, False), (2 * TAIL, True), (1 - 2 * TAIL, True), (1 - TAIL / 2, False)]
)
def test_an_error_within_the_interval_is_covered_and_one_beyond_is_not(quantile: float, covered: bool) -> None:
    """A prediction that is e^-q times what was measured is off by the quantile q of the error."""
    assert held(curve(math.exp(-RESIDUALS[KIND].quantile(quantile)))).covered is covered


def test_beyond_the_loads_that_are_known_there_is_no_crossing() -> None:
    assert curve(0.01).predicted() == math.inf
    assert curve(100.0).predicted() == 0.0
