"""What a plan varies of a load, and the runs that it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.scenario import Scenario, load_scenario
from llmsim.statistics.shares import Clusters
from llmsim.studies.kept_runs import KeptRuns
from llmsim.studies.plan.loads import RATE, USERS, load_of, phase_rates, with_load
from llmsim.studies.plan.measured_runs import MeasuredPoint
from llmsim.studies.plan.run_store import RunStore

DAY = 'workload.arrivals={process="diurnal", rate_per_s=4.0, amplitude=0.5, period_s=100.0, peak_s=25.0}'
STEPS = 'workload.arrivals={process="piecewise", from_s=[0.0, 10.0], rates_per_s=[2.0, 8.0], period_s=40.0}'
TWO = (
    'workload.classes=[{name="a", arrivals={process="poisson", rate_per_s=1.0}}, '
    '{name="b", arrivals={process="gamma", rate_per_s=3.0, burstiness=0.5}}]'
)


@pytest.mark.parametrize(
    ("changes", "key", "amount", "period_s"),
    [
        (["workload.arrivals.rate_per_s=3.5"], RATE, 3.5, None),
        (['workload.arrivals={process="on_off", rate_per_s=2.0, on_s=2.0, off_s=5.0}'], RATE, 2.0, None),
        ([DAY], RATE, 4.0, 100.0),
        ([STEPS], RATE, 6.5, 40.0),
        (['workload.arrivals={process="closed", concurrency=7}'], USERS, 7.0, None),
        (["workload.arrivals=null", TWO], RATE, 4.0, None),
    ],
)
def test_every_kind_of_load_has_its_amount_and_twice_of_it_is_twice_as_much(
    changes: list[str], key: str, amount: float, period_s: float | None
) -> None:
    scenario = load_scenario("quickstart", changes)
    load = load_of(scenario)
    doubled = load_of(with_load(scenario, load, 2 * load.amount, 1000, 5))

    assert (load.key, load.period_s) == (key, period_s)
    assert load.amount == pytest.approx(amount, rel=0.02)
    assert doubled.amount == pytest.approx(2 * load.amount, rel=0.02)
    assert with_load(scenario, load, load.amount, 1000, 5).seed == 5


def test_runs_of_a_days_load_last_whole_days() -> None:
    load = load_of(load_scenario("quickstart", [DAY]))

    assert [load.requests(asked, 4.0) for asked in (1, 400, 590, 1000)] == [400, 400, 400, 800]
    assert load.requests(1000, 8.0) == 800, "a day of twice the rate has twice the requests"


def test_rates_of_phases_are_those_of_the_curve() -> None:
    scenario = load_scenario("quickstart", [STEPS])

    assert phase_rates(scenario, load_of(scenario), 4) == pytest.approx([2.0, 8.0, 8.0, 8.0], rel=0.03)


def test_classes_with_days_of_their_own_are_refused() -> None:
    days = TWO.replace('process="poisson", rate_per_s=1.0', 'process="diurnal", rate_per_s=1.0, amplitude=0.5')
    with pytest.raises(InputError, match="a plan needs one for all"):
        load_of(load_scenario("quickstart", ["workload.arrivals=null", days]))


class Counting:
    """Measures, counts how often, and is stopped once."""

    def __init__(self, stop_after: int) -> None:
        self.measured, self.stop_after = 0, stop_after

    def __call__(self, scenarios: Any) -> list[MeasuredPoint]:
        self.measured += len(scenarios)
        if self.measured > self.stop_after:
            raise KeyboardInterrupt
        return [point(scenario) for scenario in scenarios]


def point(scenario: Scenario) -> MeasuredPoint:
    values = {"slo.attainment": 0.5, "ttft_s.p99": float("inf")}
    missed = {"a target": Clusters(10, 5, 7.0, 2)}
    return MeasuredPoint(scenario.seed, 10, "steady", "why", values, {"requests": 10}, missed)


def test_a_plan_that_was_killed_goes_on_from_the_runs_that_it_had(tmp_path: Path) -> None:
    scenarios = [load_scenario("quickstart", [f"seed={seed}"]) for seed in range(4)]
    killed = RunStore(KeptRuns(tmp_path), ["a target"]).through(Counting(2))
    killed(scenarios[:1])
    killed(scenarios[1:2])
    with pytest.raises(KeyboardInterrupt):
        killed(scenarios[2:3])
    again = Counting(99)
    found = RunStore(KeptRuns(tmp_path), ["a target"]).through(again)([*scenarios, scenarios[0]])

    assert again.measured == 2
    assert found == [point(scenario) for scenario in [*scenarios, scenarios[0]]]
    other = Counting(99)
    RunStore(KeptRuns(tmp_path), ["another"]).through(other)(scenarios[:1])
    assert other.measured == 1, "runs kept for other targets lack what these need"
    assert np.isinf(found[0].values["ttft_s.p99"])
