"""Agents: each call has the SLO of its stage, which policies see, and an agent is in time if all of its calls are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.experiment.assembly import assemble
from llmsim.metrics.sections.agents import Agents
from llmsim.request import Request
from llmsim.scenario import load_scenario
from llmsim.workload.classes import by_stage
from llmsim.workload.sessions import Sessions

TRACE = Path(__file__).parents[3] / "scenarios" / "traces" / "sample_conv.csv"
CHANGES = ["workload.requests=400", "window={}"]


def test_the_stage_of_a_request_is_its_place_in_the_conversation():
    """Conversations of 3, 1 and 2 requests: the lone one is a last one."""
    sessions = Sessions(np.array([-1, 0, 1, -1, -1, 4]), np.zeros(6), np.array([0, 0, 0, 1, 2, 2]))

    assert by_stage(sessions, ("first", "later", "last")).tolist() == [0, 1, 2, 2, 0, 2]
    assert by_stage(sessions, ("last", "later")).tolist() == [1, 1, 0, 0, 1, 0]
    assert by_stage(sessions, ("later",)).tolist() == [0] * 6


def test_clients_declare_the_slo_of_the_stage():
    workload = assemble(load_scenario("related/agents", CHANGES)).workload
    bounds = []
    for turn in range(4):
        request = Request(int(np.flatnonzero(workload.sessions.turn == turn)[0]), 0.0, 1)
        workload.tell(request)
        bounds.append((request.slo.ttft_s, request.slo.e2e_s))

    assert bounds == [(2.0, None), (2.0, 15.0), (2.0, 15.0), (1.0, None)]


def test_an_agent_is_in_time_if_all_of_its_calls_are():
    """By hand: the first agent is, the second misses one, the third breaks after its first call, the fourth is cut."""
    found = Agents.of(
        conversation=np.array([0, 0, 1, 1, 2, 3, 3]),
        turns=np.array([2, 2, 2, 2, 2, 2, 2]),
        arrival_s=np.array([0.0, 2.0, 0.0, 3.0, 1.0, 1.0, 5.0]),
        end_s=np.array([1.0, 4.0, 2.0, 9.0, 2.0, 2.0, 8.0]),
        served=np.array([True, True, True, True, False, True, False]),
        in_time=np.array([True, True, True, False, False, True, False]),
    )

    assert found.attainment == 0.25
    assert (found.e2e_s.n, found.e2e_s.mean) == (2, 6.5)


def test_stages_and_agents_are_scored():
    score = experiment.run(load_scenario("related/agents", [*CHANGES, "workload.arrivals.rate_per_s=3"])).score
    of_stages = [score[f"classes.{name}.slo.attainment"] for name in ("first", "tool", "answer")]

    assert score["agents.attainment"] <= min(of_stages) + 1e-12
    assert score["agents.e2e_s.n"] == 100


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["workload.sessions=null"], "stages of classes are those of conversations, and there is no workload.sessions"),
        (['workload.classes=[{name="a", stage="last"}]'], "each class needs a stage of its own .* one of them .later."),
        (['workload.classes=[{name="a", stage="later"}, {name="b", weight=1.0}]'], "weight and stage exclude each"),
        ([f'workload={{trace="{TRACE}", classes=[{{name="a", stage="later"}}]}}'], "no conversations, of which"),
    ],
)
def test_what_stages_need_is_told(changes, says):
    with pytest.raises(InputError, match=says):
        assemble(load_scenario("related/agents", changes))
