"""What a run says above its tables: who serves, and what is unusual on the way to users."""

import pytest

from llmsim.reports.tables.setting import setting
from llmsim.scenario import load_scenario


def said(*changes):
    return setting(load_scenario("quickstart", list(changes))).splitlines()


def test_nothing_is_said_of_what_is_as_usual():
    assert said() == ["1 x a100-sxm4-80gb, llama-3.1-8b, round_robin, chunked_prefill, seed 1"]
    assert said("delivery.policy=immediate") == said()


@pytest.mark.parametrize(
    ("changes", "unusual"),
    [
        (["delivery.policy=paced", "delivery.tbt_s=0.2"], "delivery.policy paced, delivery.tbt_s 0.2"),
        (["abandonment.policy=missed"], "abandonment.policy missed"),
        (["gateway.max_concurrency=32", "host.request_s=0.015"], "host.request_s 0.015, gateway.max_concurrency 32"),
        (["patience.next_token.mean_s=5"], "patience.next_token.mean_s 5"),
    ],
)
def test_what_decides_the_fate_of_tokens_and_requests_is_said(changes, unusual):
    assert said(*changes)[1:] == [unusual]
