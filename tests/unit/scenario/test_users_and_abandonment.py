"""The tables [abandonment] and [patience] of a scenario, through a whole run."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.request import Outcome
from llmsim.scenario import Scenario, load_scenario

BUSY = ["workload.requests=200", "workload.arrivals.rate_per_s=12"]


def run(*changes: str) -> experiment.Result:
    return experiment.run(load_scenario("quickstart", [*BUSY, *changes]))


def test_missed_and_foreseen_requests_are_abandoned_and_counted() -> None:
    served, missed, foreseen = run(), run("abandonment.policy=missed"), run("abandonment.policy=must_miss")

    assert served.score["requests"]["abandoned"] == 0
    assert missed.score["requests"]["abandoned"] > 0
    late = missed.record.requests["outcome"] == Outcome.ABANDONED
    assert (missed.record.requests["end_s"] - missed.record.requests["arrival_s"])[late].min() >= 1.0  # the TTFT bound
    early = foreseen.record.requests["outcome"] == Outcome.ABANDONED
    assert (foreseen.record.requests["end_s"] - foreseen.record.requests["arrival_s"])[early].min() < 1.0


def test_users_who_leave_are_cancelled_and_their_work_is_wasted() -> None:
    result = run("patience.first_token.mean_s=1", "patience.next_token={distribution='fixed', mean_s=0.15}")

    score, requests = result.score, result.record.requests
    gone = requests["outcome"] == Outcome.CANCELLED
    assert score["requests"]["cancelled"] == gone.sum() > 0
    assert np.array_equal(gone, ~np.isnan(requests["left_s"]))
    assert score["wasted"]["computed_tokens"] == requests["computed_tokens"][gone].sum()
    assert score["wasted"]["output_tokens"] == requests["emitted_tokens"][gone].sum() > 0
    delivered = result.delivered
    for request in np.flatnonzero(gone):
        times_s = delivered.token_times_s(request)
        assert (times_s <= requests["left_s"][request]).all()
        assert len(times_s) <= requests["emitted_tokens"][request]


def test_patience_leaves_the_requests_as_they_are() -> None:
    without, with_patience = run(), run("patience.first_token.mean_s=1")

    for column in ("arrival_s", "prompt_tokens", "output_tokens"):
        assert np.array_equal(without.record.requests[column], with_patience.record.requests[column])


def test_scenarios_with_these_tables_survive_json() -> None:
    changes = ["patience.first_token.mean_s=1", "abandonment.policy=missed", "abandonment.tokens_per_s=3"]
    scenario = load_scenario("quickstart", changes)

    assert Scenario.model_validate_json(scenario.model_dump_json()) == scenario


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("abandonment={policy='missed', waiting=false, running=false}", "no request would be given up"),
        ("abandonment={policy='never', ttft_s=1}", "abandonment.ttft_s: unknown key"),
        ("abandonment.policy=mised", "did you mean 'missed'"),
        ("patience.first_token={mean_s=1, cv=2}", "cv belongs to distribution 'lognormal'"),
        ("patience.first_tokn.mean_s=1", "did you mean 'first_token'"),
        ("patience.cancel_delay_s=1", "needs users that leave"),
    ],
)
def test_bad_tables_are_one_line(change: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        load_scenario("quickstart", [change])

    assert "\n" not in str(error.value)


def test_abandonment_without_a_deadline_says_so() -> None:
    with pytest.raises(InputError, match="no deadline to miss"):
        run("slo={tbt_s=0.2}", "abandonment.policy=missed")
