"""Does a result hang on step times? Known cases: an idle instance, one near its seats, one that tips over."""

from __future__ import annotations

import json

import pytest

from llmsim import experiment
from llmsim.cli import main
from llmsim.latency.scaled import Scaled
from llmsim.scenario import load_scenario
from llmsim.statistics import OVERLOADED, STEADY
from llmsim.studies.sensitivity import Sensitivity, nearly_full, of_itself, sensitivity
from llmsim.testing import LinearSteps

STEADY_ALL = (STEADY, STEADY, STEADY)


@pytest.mark.parametrize(
    ("found", "hangs"),
    [
        (Sensitivity(0.95, 1.0, 1.05, STEADY_ALL), False),
        (Sensitivity(0.9, 1.0, 1.3, STEADY_ALL), True),
        (Sensitivity(0.7, 1.0, 1.05, STEADY_ALL), True),
        (Sensitivity(0.95, 1.0, None, (STEADY, STEADY, OVERLOADED)), True),
    ],
)
def test_more_than_four_times_the_error_hangs(found: Sensitivity, hangs: bool) -> None:
    assert found.hangs is hangs
    assert ("does not hang" in str(found)) is not hangs


def test_every_step_is_scaled_to_the_bit() -> None:
    plain = LinearSteps(0.010, 0.001)
    scaled = Scaled(plain, 1.05)
    assert scaled.step_time_s([(0, 7)], 3, 90) == 1.05 * plain.step_time_s([(0, 7)], 3, 90)
    assert scaled.decode_line(3, 90)[0] == scaled.step_time_s((), 3, 90)


def test_an_unloaded_instance_is_as_much_slower_as_its_steps() -> None:
    """One request at a time: TTFT is the prefill step alone, and 5 % more of it with steps 5 % longer."""
    changes = ["workload.arrivals={process='closed', concurrency=1}", "workload.requests=60"]
    scenario = load_scenario("quickstart", changes)
    plain, slower = experiment.run(scenario), experiment.run(scenario, step_time_factor=1.05)
    assert slower.score["ttft_s"]["mean"] == pytest.approx(1.05 * plain.score["ttft_s"]["mean"], rel=1e-9)
    assert sensitivity(scenario, plain, {}).as_is_s in (None, plain.score["ttft_s"]["p99"])


def test_near_its_seats_a_run_hangs_on_step_times(capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["--set", "workload.requests=8000", "--set", "scheduler.max_num_seqs=32"]
    assert main(["run", "quickstart", *changes, "--sensitivity", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["sensitivity"]
    assert found["hangs_on_step_times"]
    assert found["faster_s"] < found["as_is_s"] < found["slower_s"]


SMALL = [
    'cluster.latency={name="constant",step_s=0.01}',
    'workload.lengths={source="fixed",prompt_tokens=10,output_tokens=5}',
    'workload.arrivals={process="poisson",rate_per_s=40.0}',
    "workload.requests=6000",
]


def test_a_run_near_its_full_seats_says_so_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests are under way on average (40/s, 5 steps of 10 ms each): four seats are nearly full at times."""
    few, many = (experiment.run(load_scenario("quickstart", [*SMALL, f"scheduler.max_num_seqs={n}"])) for n in (4, 64))
    steps = few.record.steps
    took_s = steps["end_s"] - steps["start_s"]
    full = steps["running"] == 4
    assert nearly_full(few, {}) == pytest.approx(took_s[full].sum() / took_s.sum(), rel=0.01)
    assert 0.05 < nearly_full(few, {}) < 0.5
    assert of_itself(few, {}).startswith("seats are nearly full ")
    assert "TTFT p99 with step times 5 % shorter" in of_itself(few, {})
    assert of_itself(many, {}) == ""

    monkeypatch.setattr("llmsim.studies.sensitivity.MOST_REQUESTS", 10)
    assert of_itself(few, {}).endswith("--sensitivity tells (two more runs)")
