"""What a gateway refuses at its door, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmsim import experiment
from llmsim.cluster.admission import Admission, Bucket, Limit
from llmsim.errors import InputError
from llmsim.request import Outcome
from llmsim.scenario import load_scenario
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.slo import Slo
from llmsim.testing import LinearSteps, same, serve_both_ways, workload
from llmsim.workload.asked import at_most
from llmsim.workload.classes import Classes

STEP = LinearSteps(0.125, 0.0)


def outcomes(requests, admission, **options):
    records = serve_both_ways(requests, ChunkedPrefill(), latency=STEP, admission=admission, **options)
    assert same(*records)
    refused = records[0].requests["outcome"] == Outcome.REJECTED
    assert (records[0].requests["instance"][refused] == -1).all()
    return (~refused).astype(int).tolist(), records[0]


def of_tenants(requests, tenants):
    names = tuple(dict.fromkeys(tenants))
    numbers = np.array([names.index(tenant) for tenant in tenants])
    return replace(requests, classes=Classes(numbers, names, (0,) * len(names)))


def test_a_bucket_of_two_a_second_and_three_at_once():
    """NEXT_SYSTEMS section 5: arrivals 0 0 0 0 .4 .5 1.0."""
    bucket, let_in = Bucket(2.0, 3.0), []
    for at_s in (0.0, 0.0, 0.0, 0.0, 0.4, 0.5, 1.0):
        let_in.append(int(bucket.has(1.0, at_s)))
        if let_in[-1]:
            bucket.take(1.0)

    assert let_in == [1, 1, 1, 0, 0, 1, 1]


def test_requests_over_the_limit_are_rejected():
    requests = workload(*[(at_s, 10, 2) for at_s in (0.0, 0.0, 0.0, 0.0, 0.4, 0.5, 1.0)])
    let_in, record = outcomes(requests, Admission(others=Limit(requests_per_s=2.0, burst=3.0)))

    assert let_in == [1, 1, 1, 0, 0, 1, 1]
    assert record.reasons[record.requests["reason"][3]] == "over the limit of requests of the gateway"


def test_tenants_have_buckets_of_their_own():
    requests = of_tenants(workload(*[(0.0, 10, 2)] * 6), "ABABCC")
    admission = Admission({"A": Limit(requests_per_s=1.0, burst=5.0)}, Limit(requests_per_s=1.0))

    assert outcomes(requests, admission)[0] == [1, 1, 1, 0, 1, 0]


def test_tokens_are_those_of_prompts_and_of_the_output_that_is_asked_for():
    """100 at once, 10 more a second: 40 + 20, then 40 + 20 is too much at 1 s and enough at 2 s."""
    requests = workload((0.0, 40, 2), (1.0, 40, 2), (2.0, 40, 2))
    asking = replace(requests, asked=at_most(20, requests.output_tokens))
    limit = Limit(tokens_per_s=10.0, burst_tokens=100.0)

    assert outcomes(asking, Admission(others=limit))[0] == [1, 0, 1]
    assert outcomes(requests, Admission(others=limit))[0] == [1, 1, 1]


def test_what_is_refused_takes_from_no_bucket():
    """The second has too few tokens, so the third still finds the second of two requests."""
    requests = workload((0.0, 60, 2), (0.0, 60, 2), (0.0, 40, 2))
    limit = Limit(requests_per_s=0.001, burst=2.0, tokens_per_s=0.001, burst_tokens=100.0)

    assert outcomes(requests, Admission(others=limit))[0] == [1, 0, 1]


@pytest.mark.parametrize(("times", "let_in"), [(1.0, [1, 1, 0, 0]), (2.0, [1, 1, 1, 0]), (9.0, [1, 1, 1, 1])])
def test_a_request_that_would_be_late_is_rejected_early(times, let_in):
    """2,048 tokens take 0.125 s, 16,384 a second. The first runs, others wait: 0.061, 0.061, 0.122, 0.183 s."""
    slo = Slo(ttft_s=0.0625)
    requests = replace(workload(*[(at_s, 1000, 2) for at_s in (0.0, 0.01, 0.02, 0.03)]), slo=slo)

    assert outcomes(requests, Admission(early_rejection=times))[0] == let_in


def test_in_a_scenario(tmp_path):
    """Requests a minute, VTC's baseline: five of each tenant at once, and then one every 12 s."""
    classes = '[{name="a", weight=1.0}, {name="b", weight=1.0, tenant="office"}]'
    limits = '[{tenant="office", requests_per_s=0.0833, burst=5.0}]'
    changes = ["workload.requests=40", f"workload.classes={classes}", f"gateway.limits={limits}"]
    result = experiment.run(load_scenario("quickstart", changes))
    rejected = result.record.requests["outcome"] == Outcome.REJECTED
    experiment.write(result, tmp_path)

    assert set(result.record.requests["class"][rejected]) == {1}
    assert [dict(reason) for reason in result.score["reasons"]] == [
        {"reason": "over the limit of requests of tenant 'office'", "requests": rejected.sum()}
    ]
    assert experiment.read_scenario(tmp_path) == result.scenario


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["gateway.limits=[{tenant='free', requests_per_s=1.0}]"], "no class has the tenant 'free'"),
        (["gateway.limits=[{burst=2.0}]"], "no limit; expected requests_per_s, tokens_per_s, or both"),
        (["gateway.limits=[{tokens_per_s=2.0, burst=2.0}]"], "burst belongs to requests_per_s"),
        (["gateway.limits=[{requests_per_s=1.0, burst_tokens=2.0}]"], "burst_tokens belongs to tokens_per_s"),
        (["gateway.limits=[{requests_per_s=1.0}, {requests_per_s=2.0}]"], "two limits of all other tenants"),
        (["gateway.early_rejection=1.0", "slo.ttft_s=null"], r"goes by slo.ttft_s, and \[slo\] has none"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(changes, says):
    with pytest.raises(InputError, match=says) as error:
        experiment.run(load_scenario("quickstart", ["workload.requests=5", *changes]))

    assert "\n" not in str(error.value)
