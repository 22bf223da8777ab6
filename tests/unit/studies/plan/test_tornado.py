"""Which assumption moves an answer: bars of a cluster whose largest load is known, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llmsim.latency.residuals import COMPOSED, RESIDUALS, Kind
from llmsim.reports.plots import tornado_figure
from llmsim.scenario import load_scenario
from llmsim.studies.plan.candidates import Candidate
from llmsim.studies.plan.certainty import factor_at
from llmsim.studies.plan.loads import load_of
from llmsim.studies.plan.measured_runs import Altered
from llmsim.studies.plan.tornado import NEAR, Bar, Tornado, tornado

KIND = Kind(COMPOSED, host=False, full=False)
GAMMA = "workload.arrivals={process='gamma', rate_per_s=10.0, burstiness=0.5}"


def keeps(candidate: Candidate, altered: Altered, *, amount: float) -> bool:
    """A cluster that carries 12/s: less with longer steps and outputs, a host, bursts, and without prefix hits."""
    scenario: Any = candidate.scenario
    most = 12 / altered.step_times / altered.outputs**0.5
    most *= 1.0 if scenario.host.profile is None and scenario.host.step_s is None else 0.9
    most *= 0.8 if scenario.workload.arrivals.options.get("burstiness", 1.0) < 0.5 else 1.0
    most *= 1.0 if scenario.cluster.prefix_caching else 0.5
    return bool(amount <= most)


def drawn(*changes: str, find: str = "instances") -> Tornado:
    scenario = load_scenario("quickstart", ["cluster.prefix_caching=true", GAMMA, *changes])
    candidate = Candidate(scenario, 1.0, load=load_of(scenario))
    found = tornado(candidate, KIND, 10.0, 8.0, keeps, find=find)
    assert found is not None
    return found


def bars_of(found: Tornado) -> dict[str, Bar]:
    return {bar.assumption: bar for bar in found.bars}


def test_every_end_is_the_largest_load_there_and_what_the_asked_one_costs() -> None:
    found = drawn("workload.prefixes={system_prompts=2, system_tokens=64}")
    bars = bars_of(found)
    factor = factor_at(RESIDUALS[KIND], 0.9)

    def load(amount: float | None) -> Any:
        return pytest.approx(amount, rel=NEAR - 1)

    assert found.amount == load(12)
    assert found.usd_per_hour == load(8 * 10 / 12)
    assert bars["step times"].high.amount == load(12 / factor)
    assert bars["step times"].high.usd_per_hour == load(8 * 10 / 12 * factor)
    assert (bars["output lengths"].low.amount, bars["output lengths"].high.amount) == (
        load(12 / 0.9**0.5),
        load(12 / 1.1**0.5),
    )
    assert (bars["host"].low.said, bars["host"].high.amount) == ("as it is", load(12 * 0.9))
    assert (bars["burstiness"].low.said, bars["burstiness"].high.said) == ("gamma 1", "gamma 0.25")
    assert bars["burstiness"].high.amount == load(12 * 0.8)
    assert bars["prefix hits"].high.amount == load(6)
    assert bars["price"].high.usd_per_hour == pytest.approx(1.2 * found.usd_per_hour)
    assert [bar.swing for bar in found.bars] == sorted((bar.swing for bar in found.bars), reverse=True)
    assert found.not_varied == {}


def test_what_a_scenario_does_not_have_is_not_varied_and_says_why() -> None:
    constant = "workload.arrivals={process='constant', rate_per_s=10.0}"

    assert set(drawn(constant).not_varied) == {"burstiness", "prefix hits"}


def test_of_a_largest_load_costs_are_of_that() -> None:
    found = drawn(find="load")

    assert found.asked == found.amount
    assert found.usd_per_hour == pytest.approx(8.0)


def test_the_picture_has_a_row_for_each_assumption_and_marks_what_carries_nothing() -> None:
    found = drawn()
    first = replace(found.bars[0], high=replace(found.bars[0].high, usd_per_hour=None))
    found = replace(found, bars=(first, *found.bars[1:]))
    (axes,) = tornado_figure(found).axes
    said = [text.get_text() for text in axes.texts]

    assert [label.get_text() for label in axes.get_yticklabels()] == [bar.assumption for bar in found.bars]
    assert any(text.endswith("(carries nothing)") for text in said)
