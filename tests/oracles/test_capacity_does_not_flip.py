"""4 x H100, Llama-3.1-8B, 1024 tokens in, 256 out: the answer does not depend on how long one looks.

Other simulators report a capacity that rises as the run gets shorter: 100 requests are all served quickly, whatever the
rate. The truth here does not come from the verdict: what an instance can do at most follows from one long run that is
never short of work.
"""

from __future__ import annotations

import numpy as np
import pytest

from llmsim import experiment
from llmsim.scenario import load_scenario
from llmsim.statistics import OVERLOADED, STEADY, TOO_SHORT
from llmsim.studies import plan as planning
from llmsim.studies.executors import InThisProcess
from llmsim.studies.plan import CARRIES, FAILS

LENGTHS = {100: (1, 2), 400: (1, 2), 1500: (1, 2), 6000: (1,), 15_000: (2,)}  #: requests -> seeds
INSTANCES = 4
SEATS = "cluster.engine=null"  # 256 of them, which bind before anything else
JUST_BELOW, JUST_ABOVE = 0.92, 1.06
ENOUGH = {JUST_BELOW: 8000, JUST_ABOVE: 15_000}  #: requests that settle an answer: the nearer to capacity, the more


@pytest.fixture(scope="module")
def capacity_per_s():
    """Requests per second that four instances finish while none of them lacks work, at half as much again."""
    crowded = load_scenario("plan_h100", [SEATS, "workload.requests=16000", "workload.arrivals.rate_per_s=150"])
    end_s = np.sort(experiment.run(crowded).record.requests["end_s"])
    first, last = len(end_s) // 2, len(end_s) - 1200  # seats are full until the last thousand leave
    return (last - first) / (end_s[last] - end_s[first])


@pytest.mark.parametrize(("share", "right"), [(JUST_BELOW, STEADY), (JUST_ABOVE, OVERLOADED)])
def test_a_verdict_is_right_or_not_given(capacity_per_s, share, right):
    answers = {}
    for requests, seeds in LENGTHS.items():
        changes = [SEATS, f"workload.requests={requests}", f"workload.arrivals.rate_per_s={share * capacity_per_s}"]
        runs = [experiment.run(load_scenario("plan_h100", [*changes, f"seed={seed}"])) for seed in seeds]
        answers[requests] = {run.score["verdict"]["answer"] for run in runs}

    assert set.union(*answers.values()) <= {right, TOO_SHORT}
    assert answers[100] == answers[400] == {TOO_SHORT}
    assert right in answers[15_000]


@pytest.mark.parametrize(("share", "needed"), [(JUST_BELOW, INSTANCES), (JUST_ABOVE, INSTANCES + 1)])
@pytest.mark.parametrize("requests", [150, 2000, "enough"])  # two seeds of 149 could not show 0.99, and are refused
def test_a_plan_never_names_another_number(capacity_per_s, share, needed, requests):
    """What it says carries, does; fewer are never said to; only what is settled counts as the answer."""
    enough = requests == "enough"
    requests = ENOUGH[share] if enough else requests
    question = planning.read_plan(
        "plan_h100",
        [
            SEATS,
            f"workload.arrivals.rate_per_s={share * capacity_per_s}",
            f"workload.requests={requests}",
            f"plan.most_requests={requests}",
            'plan.targets=["slo.attainment >= 0.99"]',
            'plan.gpus=["h100-sxm-80gb"]',
            "plan.least_seeds=2",
            "plan.most_seeds=2",
            "plan.most_instances=8",
            "plan.model_error=false",
        ],
    )
    (answer,) = planning.make_plan(question, InThisProcess()).answers

    for evaluation in answer.evaluations:
        assert evaluation.answer != (FAILS if evaluation.instances >= needed else CARRIES)
    if answer.settled:
        assert answer.carries.instances == needed
    assert answer.settled == enough
    if requests == 150:
        assert answer.carries is None
        assert "too short" in planning.sentence(planning.AnsweredPlan(question, (answer,)))
