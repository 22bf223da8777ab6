"""How sure answers are of the step times: against the normal distribution, by hand."""

from __future__ import annotations

import math

import pytest

from llmsim.latency.hardware import load_gpu, load_model
from llmsim.latency.host import Host
from llmsim.latency.residuals import COMPOSED, RESIDUALS, ROOFLINE, Kind, Residual, kind_of
from llmsim.latency.roofline import Roofline
from llmsim.latency.scaled import Scaled
from llmsim.latency.sources.constant import Constant
from llmsim.studies.plan.certainty import QUANTILES, factor_at, model_certainty

KIND = Kind(COMPOSED, host=True, full=False)


def test_factors_are_students_prediction_of_one_more_group() -> None:
    """2.306 is the 97.5 % point of Student's t with 8 degrees of freedom in any table."""
    assert factor_at(Residual(0.0, 0.1, 9), 0.5) == 1.0
    wider = 0.1 * math.sqrt(1 + 1 / 9)
    assert factor_at(Residual(0.05, 0.1, 9), 0.975) == pytest.approx(math.exp(0.05 + 2.306 * wider), rel=5e-3)


@pytest.mark.parametrize("place", range(len(QUANTILES)))
def test_the_last_factor_that_holds_is_found(place: int) -> None:
    last = factor_at(RESIDUALS[KIND], QUANTILES[place])
    looked: list[float] = []

    def holds(factor: float) -> bool:
        looked.append(factor)
        return factor <= last

    found = model_certainty(KIND, 0.9, holds, lambda factor: 7)
    as_it_is = RESIDUALS[KIND].probability(0.0)

    assert (found.holds, found.factor) == max((as_it_is, 1.0), (QUANTILES[place], last))
    assert found.probability == pytest.approx(0.9 * max(as_it_is, QUANTILES[place]))
    assert found.safe_instances == (7 if QUANTILES[place] < 0.95 else None)
    assert len(looked) <= 3


def test_an_answer_at_its_edge_holds_with_the_step_times_as_they_are() -> None:
    """It was found with these: so that the error is below 0 is the least that it is sure of."""
    found = model_certainty(KIND, 0.9, lambda factor: False, lambda factor: None)
    residual = RESIDUALS[KIND]

    assert residual.quantile(residual.probability(0.1)) == pytest.approx(0.1)
    assert residual.quantile(found.holds) == pytest.approx(0.0)
    assert (found.factor, found.safe_instances) == (1.0, None)
    assert "P = 0.27, it holds with step times up to x 1.00" in str(found)


def test_kinds_are_told_apart_and_roofline_and_full_seats_are_no_surer() -> None:
    roofline = Roofline(load_gpu("h100-sxm-80gb"), load_model("llama-3.1-8b"))

    assert kind_of(Scaled(Host(roofline, step_s=0.001), 1.1), full=True) == Kind(ROOFLINE, host=True, full=True)
    assert kind_of(Constant(step_s=0.01), full=False) is None
    for host in (True, False):
        for full in (True, False):
            assert RESIDUALS[Kind(ROOFLINE, host, full)].mean > RESIDUALS[Kind(COMPOSED, host, full)].mean
        for basis in (COMPOSED, ROOFLINE):
            assert RESIDUALS[Kind(basis, host, True)].mean > RESIDUALS[Kind(basis, host, False)].mean
