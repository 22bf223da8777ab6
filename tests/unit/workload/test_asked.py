"""What clients ask for of the output: max_tokens and ignore_eos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.experiment import make_workload
from llmsim.request import Request
from llmsim.scenario import load_scenario
from llmsim.testing import workload
from llmsim.workload.asked import Asked, at_most, exactly
from llmsim.workload.streams import streams

TWO = workload((0.0, 10, 5), (1.0, 10, 8))


def told(asked, id):
    request = Request(id, 0.0, 10)
    replace(TWO, asked=asked).tell(request)
    return request.max_tokens, request.ignore_eos


def test_requests_are_told_what_they_ask_for_and_nothing_by_default():
    assert told(None, 0) == (None, False)
    assert told(exactly(TWO.output_tokens), 1) == (8, True)
    assert told(at_most(9, TWO.output_tokens), 0) == (9, False)


def test_attempts_ask_for_the_same_again():
    asked = replace(TWO, asked=exactly(TWO.output_tokens)).repeated(2, 2).asked

    assert asked.max_tokens.tolist() == [5, 5, 8, 8]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (at_most(7, TWO.output_tokens), "request 1 has output_tokens = 8, expected at most its max_tokens of 7"),
        (Asked(np.array([6, 8]), np.array([True, True])), "request 0 has output_tokens = 5, expected exactly"),
        (exactly(np.array([5])), "2 requests, and max_tokens for 1"),
    ],
)
def test_outputs_that_are_not_as_asked_for_are_refused(asked, says):
    with pytest.raises(InputError, match=says):
        replace(TWO, asked=asked)


def scenario(**changes):
    return load_scenario("quickstart", [f"{key}={value}" for key, value in changes.items()])


def test_a_scenario_says_what_its_clients_ask_for():
    few = {"workload.requests": 20}
    drawn = make_workload(scenario(**few), streams(0))
    assert drawn.asked is None
    most = make_workload(scenario(**few, **{"clients.max_tokens": 100_000}), streams(0)).asked
    assert set(most.max_tokens.tolist()) == {100_000}
    exact = make_workload(scenario(**few, **{"clients.ignore_eos": "true"}), streams(0)).asked
    assert exact.max_tokens.tolist() == drawn.output_tokens.tolist()


def test_bad_declarations_are_refused_in_a_line(refused):
    line = refused("run", "quickstart", "--set", "clients.max_tokens=2")
    assert "clients.max_tokens" in line
    assert "expected at most its max_tokens of 2" in line
    both = refused("run", "quickstart", "--set", "clients.max_tokens=2", "--set", "clients.ignore_eos=true")
    assert "max_tokens and ignore_eos exclude each other" in both
