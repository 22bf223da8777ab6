"""Runs that are lengthened until they can say, and what scenarios say of their arrivals."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmsim.errors import InputError
from llmsim.experiment import run
from llmsim.experiment.own_files import NO_FILES
from llmsim.experiment.until_sure import lengthened
from llmsim.experiment.verdict import arrivals_of
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.scenario import Scenario, load_scenario
from llmsim.statistics import STEADY, TOO_SHORT, Arrivals
from places import SCENARIOS

SHORT = [
    "workload.requests=150", "workload.arrivals.rate_per_s=4", "cluster.latency=roofline",
    'workload.lengths={source="fixed", prompt_tokens=200, output_tokens=10}',
]  # fmt: skip


def said(scenario: Scenario) -> str:
    return run(scenario).score.section(RunVerdict).answer


def test_a_run_is_doubled_until_it_can_say() -> None:
    short = load_scenario("quickstart", SHORT)
    found, tried = lengthened(short, NO_FILES.load())

    assert said(short) == TOO_SHORT
    assert said(found) == STEADY
    assert tried == [150 * 2**i for i in range(len(tried))]
    assert found.workload.requests == tried[-1]  # type: ignore[union-attr]


def test_what_has_one_length_is_refused() -> None:
    trace = Path(SCENARIOS / "traces/sample_conv.csv")
    with pytest.raises(InputError, match="a trace has one length"):
        lengthened(load_scenario("quickstart", [f"workload.trace={trace}"]), NO_FILES.load())
    with pytest.raises(InputError, match="until_s ends every run there"):
        lengthened(load_scenario("quickstart", ["until_s=5"]), NO_FILES.load())


@pytest.mark.parametrize(
    ("arrivals", "known"),
    [
        ('{process="poisson", rate_per_s=1.0}', Arrivals(None, known=True)),
        ('{process="on_off", rate_per_s=1.0, on_s=2.0, off_s=5.0}', Arrivals(7.0, known=True)),
        ('{process="diurnal", rate_per_s=1.0, amplitude=0.5, period_s=60.0, peak_s=3.0}', Arrivals(60.0, known=True)),
        ('{process="closed", concurrency=4}', Arrivals(closed=True)),
    ],
)
def test_a_scenario_says_what_is_known_of_its_arrivals(arrivals: str, known: Arrivals) -> None:
    assert arrivals_of(load_scenario("quickstart", [f"workload.arrivals={arrivals}"])) == known
