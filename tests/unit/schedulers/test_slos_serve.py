"""SLOs-Serve: what is accepted, how long batches are, at whose cost; by hand where steps take 5 ms + 0.1 ms a token."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.request import Outcome
from llmsim.routers.first_feasible import FirstFeasible
from llmsim.routers.round_robin import RoundRobin
from llmsim.scenario import load_scenario
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.slos_serve import SlosServe
from llmsim.slo import Slo
from llmsim.slo_batch import most_within
from llmsim.testing import LinearSteps, serve, workload
from llmsim.testing.builders import drafting
from llmsim.testing.policies import PurityChecker
from llmsim.workload.acceptance import draw
from llmsim.workload.classes import Classes

LATENCY = LinearSteps(0.005, 0.0001, 0.0001)


def of_classes(requests, slos, numbers):
    names = tuple(str(number) for number in range(len(slos)))
    return replace(requests, classes=Classes(np.array(numbers), names, (0,) * len(slos), slos=tuple(slos)))


def served(requests, policy=None, **options):
    watched = PurityChecker(policy or SlosServe())
    return serve(requests, watched, latency=LATENCY, **options), watched.decisions


def test_batches_last_as_long_as_the_tightest_tier_that_is_served():
    """One decodes at 50 ms a token while a prompt of 2,000 comes: chunks of 449 tokens beside its own."""
    slos = (Slo(ttft_s=1.0, tpot_s=0.05), Slo(ttft_s=1.0, tpot_s=0.5))
    requests = of_classes(workload((0.0, 100, 60), (0.1, 2000, 5)), slos, [0, 1])
    record, decisions = served(requests)
    chunks = [decision.prefill[1] for _, decision in decisions if 1 in decision.prefill]
    first = record.timelines().token_times_s(0)

    assert chunks == [449, 449, 449, 449, 204]
    assert np.diff(first).max() == pytest.approx(0.05)


def test_what_cannot_be_in_time_is_declined_and_served_when_there_is_time():
    """Ten prompts of 1,000 tokens are due in 0.5 s, and 4,950 tokens fit in one batch of that length: four are in time.

    Beside the first that decodes batches last 50 ms, with 449 tokens of prompts each.
    """
    slo = Slo(ttft_s=0.5, tpot_s=0.05)
    requests = of_classes(workload(*[(0.0, 1000, 20)] * 10), [slo], [0] * 10)
    record, _ = served(requests, SlosServe(most_new=10))
    ttft_s = record.requests["first_token_s"]

    assert (record.requests["outcome"] == Outcome.FINISHED).all()
    assert (ttft_s <= 0.5 + 1e-9).sum() == 4
    tpot_s = (record.requests["end_s"] - ttft_s) / 19
    assert (tpot_s[ttft_s <= 0.5] <= 0.05 + 1e-9).all()


def test_a_looser_tier_decodes_every_second_batch_while_there_are_prompts():
    slos = (Slo(ttft_s=1.0, tpot_s=0.05), Slo(ttft_s=1.0, tpot_s=0.1), Slo(ttft_s=9.0, tpot_s=0.1))
    requests = of_classes(workload((0.0, 10, 80), (0.0, 10, 80), (0.2, 9000, 2)), slos, [0, 1, 2])
    _, decisions = served(requests)
    while_computing = [1 in decision.hold for _, decision in decisions if 2 in decision.prefill]

    assert any(while_computing)
    assert not any(0 in decision.hold for _, decision in decisions)


def test_best_effort_gives_its_memory_back_to_accepted_ones():
    """The first is late before it begins; the second needs most of the memory."""
    slos = (Slo(ttft_s=0.001, tpot_s=0.05), Slo(ttft_s=1.0, tpot_s=0.05))
    requests = of_classes(workload((0.0, 400, 200), (0.5, 500, 50)), slos, [0, 1])
    record, decisions = served(requests, SlosServe(expected_output_tokens=60), num_gpu_blocks=45)

    assert [decision.preempt for _, decision in decisions if decision.preempt] == [(0,)]
    assert record.requests["preemptions"].tolist() == [1, 0]
    assert record.requests["first_token_s"][1] < 0.6


ACCEPTED = (100, 180, 244, 295, 336)  # hundredths of a token, with 0 to 4 drafts


def drafted(requests, **options):
    """Serve requests that may draft four tokens, verified at 0.1 ms each."""
    policy, acceptance = PurityChecker(SlosServe()), draw(np.random.default_rng(0), [ACCEPTED], [0] * len(requests), 4)
    requests = replace(requests, acceptance=acceptance)
    speculation = drafting(options.get("latency", LATENCY), 4)
    return serve(requests, policy, speculation=speculation, **{"latency": LATENCY, **options}), policy.decisions


def test_batches_last_as_long_as_what_is_accepted_of_the_tightest_tier():
    """One decodes at 20 ms a token: four drafts of it yield 3.36, so that batches may last 67.2 ms.

    That is time for 622 tokens, 5 of them its own. It needs all four: it is not far ahead yet.
    """
    slos = (Slo(ttft_s=1.0, tpot_s=0.02), Slo(ttft_s=1.0, tpot_s=0.5))
    record, decisions = drafted(of_classes(workload((0.0, 100, 60), (0.016, 2000, 5)), slos, [0, 1]))
    beside = [decision for _, decision in decisions if 1 in decision.prefill]
    times_s = record.timelines().token_times_s(0)

    assert [decision.prefill[1] for decision in beside] == pytest.approx([617, 617, 617, 149], abs=3)
    assert [decision.drafts[0] for decision in beside[:3]] == [4, 4, 4]
    assert np.diff(times_s).max() == pytest.approx(0.0672, abs=2e-4)
    assert times_s[-1] - times_s[0] <= 59 * 0.02


def test_with_no_prompt_to_compute_requests_draft_what_yields_most_in_a_second():
    """One alone has 3.36 tokens in a step of 5.5 ms. Of 200, at 1 ms a token, 1 each in 205 ms is more."""
    alone, decisions = drafted(of_classes(workload((0.0, 100, 60)), [Slo(ttft_s=1.0, tpot_s=0.02)], [0]))
    crowd = of_classes(workload(*[(0.0, 10, 60)] * 200), [Slo(ttft_s=0.001, tpot_s=0.02)], [0] * 200)
    _, of_crowd = drafted(crowd, latency=LinearSteps(0.005, 0.0001, 0.001))

    assert {decision.drafts[0] for _, decision in decisions if decision.drafts} == {4}
    assert {k for _, decision in of_crowd if len(decision.drafts) == 200 for k in decision.drafts.values()} == {0}
    assert alone.requests["end_s"][0] < 0.13


@pytest.mark.parametrize("seed", range(3))
def test_accepted_requests_keep_their_time_per_token_wherever_their_output_ends(seed):
    """Steps take 15 ms at least and tokens may take 20, in bursts of prompts; without drafts far fewer are in time."""
    rng = np.random.default_rng(seed)
    slow, slos = LinearSteps(0.015, 0.0001, 0.0001), (Slo(ttft_s=0.5, tpot_s=0.02), Slo(ttft_s=0.8, tpot_s=0.04))
    number = rng.integers(0, 2, 60)
    came = [(at, 400, int(rng.integers(20, 60))) for at in np.cumsum(rng.exponential(1 / 12, 60))]
    requests = of_classes(workload(*came), slos, number)
    record, _ = drafted(requests, latency=slow)
    times = record.requests
    ttft_s = times["first_token_s"] - times["arrival_s"]
    tpot_s = (times["end_s"] - times["first_token_s"]) / (requests.output_tokens - 1)
    bounds = np.array([[slo.ttft_s, slo.tpot_s] for slo in slos])[number] + 1e-9
    in_time = ttft_s <= bounds[:, 0]

    assert in_time.mean() > 0.9
    assert (tpot_s[in_time] <= bounds[in_time, 1]).mean() > 0.97
    assert in_time.sum() > 1.5 * attained_by(serve(requests, SlosServe(), latency=slow), bounds).sum()


def attained_by(record, bounds):
    times = record.requests
    output = times["output_tokens"]
    ttft_s, tpot_s = (
        times["first_token_s"] - times["arrival_s"],
        (times["end_s"] - times["first_token_s"]) / (output - 1),
    )
    return (ttft_s <= bounds[:, 0]) & (tpot_s <= bounds[:, 1])


def test_it_is_asked_again_only_where_it_could_say_something_else():
    """Alone and accepted: at the start, and after its prompt; beside best effort: at each step."""
    accepted, declined = Slo(ttft_s=1.0, tpot_s=0.05), Slo(ttft_s=0.001, tpot_s=0.05)
    requests = of_classes(workload((0.0, 100, 400)), [accepted], [0])
    with_another = of_classes(workload((0.0, 100, 400), (0.2, 100, 300)), [accepted, declined], [0, 1])

    assert len(served(requests)[1]) == 2
    assert len(served(with_another)[1]) > 300


def test_a_prompt_that_gives_its_memory_back_is_not_computed_in_the_same_step():
    """Outputs of twenty take more memory than was expected, while a prompt of 3,000 tokens is computed in chunks."""
    slo = Slo(ttft_s=9.0, tpot_s=0.05)
    requests = of_classes(workload(*[(0.0, 14, 60)] * 20, (0.0, 3000, 5)), [slo], [0] * 21)
    _, decisions = served(requests, SlosServe(expected_output_tokens=1, most_new=21), num_gpu_blocks=208)

    assert [decision.preempt for _, decision in decisions if decision.preempt] == [(20,)]
    assert not any(decision.prefill.keys() & decision.preempt for _, decision in decisions)


@pytest.mark.parametrize("output_tokens", [2, 400])
def test_an_instance_is_asked_as_of_now_be_it_idle_or_amid_a_long_row_of_decode_steps(output_tokens):
    """1,000 tokens are due in 0.1 s, in which 950 can be computed alone, and 898 beside one that decodes.

    Both decline, and the first of those with the fewest requests has it. From times before it arrived there was enough.
    """
    slos = (Slo(ttft_s=1.0, tpot_s=0.05), Slo(ttft_s=0.1, tpot_s=0.05))
    requests = of_classes(workload((0.0, 100, output_tokens), (1.0, 1000, 5)), slos, [0, 1])
    record = serve(requests, SlosServe(), router=FirstFeasible(), latency=LATENCY, instances=2)

    assert record.requests["instance"].tolist() == [0, int(output_tokens == 400)]


def test_the_most_that_is_within_a_time_is_what_counting_finds():
    """Of times that grow in lines, bend, stand still or jump."""
    rng = np.random.default_rng(5)
    for _ in range(300):
        high = int(rng.integers(1, 60))
        times = np.cumsum(rng.exponential(1.0, high + 1) * rng.integers(0, 2, high + 1) * rng.choice([1.0, 30.0]))
        limit_s = rng.uniform(-1.0, 1.2 * times[-1] + 0.1)
        assert most_within(limit_s, high, lambda n, t=times: float(t[n])) == np.sum(times[1:] <= limit_s)


def overload(rate_per_s, seed=0, n=150):
    rng = np.random.default_rng(seed)
    arrival_s = np.cumsum(rng.exponential(1 / rate_per_s, n))
    slos = (Slo(ttft_s=0.4, tpot_s=0.05), Slo(ttft_s=0.6, tpot_s=0.1))
    number = rng.integers(0, 2, n)
    requests = workload(*((at, 600 + 1200 * int(of), 30) for at, of in zip(arrival_s, number, strict=True)))
    return of_classes(requests, slos, number)


def attained(record, requests):
    times = record.requests
    slos = [requests.classes.slos[number] for number in requests.classes.of_request]
    ttft_s, tpot_s = times["first_token_s"] - times["arrival_s"], (times["end_s"] - times["first_token_s"]) / 29
    bounds = np.array([[slo.ttft_s, slo.tpot_s] for slo in slos]) + 1e-9
    return ((ttft_s <= bounds[:, 0]) & (tpot_s <= bounds[:, 1])).mean()


def test_at_twice_the_load_it_attains_what_it_can_and_chunked_prefill_nothing():
    requests = overload(16.0)
    ours = attained(serve(requests, SlosServe(), latency=LATENCY), requests)
    theirs = [
        attained(serve(requests, ChunkedPrefill(max_num_batched_tokens=tokens), latency=LATENCY), requests)
        for tokens in (512, 2048)
    ]

    assert ours > 0.35
    assert max(theirs) < 0.1


def test_wrong_step_times_cost_attainment():
    """Times that are taken to be too short: more is accepted than can be served."""
    requests = overload(11.0)
    share = {
        error: attained(serve(requests, SlosServe(step_time_error=error), latency=LATENCY), requests)
        for error in (-0.5, 0.0)
    }

    assert share[-0.5] < share[0.0] - 0.1


def test_first_feasible_offers_a_request_to_the_next():
    """Both are due so soon that one instance can only serve one of them."""
    slo = Slo(ttft_s=0.12, tpot_s=0.05)
    requests = of_classes(workload(*[(0.0, 1000, 5)] * 3), [slo], [0, 0, 0])
    options = {"latency": LATENCY, "instances": 2}
    record = serve(requests, SlosServe(), router=FirstFeasible(), **options)
    alone = serve(requests, SlosServe(), router=FirstFeasible(offers=1), **options)
    in_turn = serve(requests, SlosServe(), router=RoundRobin(), **options)

    assert record.requests["instance"].tolist() == [0, 1, 0]
    assert alone.requests["instance"].tolist() == in_turn.requests["instance"].tolist() == [0, 1, 0]


SLOS = (
    'workload.classes=[{name="a", weight=1.0, slo={ttft_s=1.0, tpot_s=0.1}}, {name="b", weight=1.0, slo={e2e_s=9.0}}]'
)

SPECULATES = "speculation={method='mtp', num_speculative_tokens=3, acceptance_length=2.5}"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ([SLOS, "scheduler.name=slos_serve"], "slos_serve goes by ttft_s and one of .*; class 'b' has e2e_s = 9"),
        (["scheduler.name=slos_serve", "slo.ttft_s=null"], r"\[slo\] has tbt_s = 0.2"),
        (["scheduler.name=slos_serve", "scheduler.step_time_error=-1.0"], "step_time_error is -1.0"),
        (["scheduler.name=slos_serve", SPECULATES.replace("}", ", acceptance_kind='random'}")],
         "SlosServe decides itself how many tokens each request drafts; leave acceptance_kind = 'random' out"),
        (["scheduler.name=slos_serve", SPECULATES, "speculation.adapt=goodput"], "decides itself .*; leave adapt out"),
        (["scheduler.name=slos_serve", SPECULATES, "scheduler.async_scheduling=true"], "goes with scheduler.async_sch"),
        (["cluster.router=first_feasible"], "asks schedulers what they would accept, and chunked_prefill accepts all"),
        (["scheduler.name=slos_serve", "kv_transfer.bandwidth_gb_per_s=25",
          'pool=[{name="p", role="prefill"}, {name="d", role="decode"}]'], "pool 'p' has role = 'prefill'"),
    ],
)  # fmt: skip
def test_what_the_scenario_lacks_is_told_in_a_line(changes, says):
    with pytest.raises(InputError, match=says) as error:
        experiment.run(load_scenario("quickstart", ["workload.requests=5", *changes]))

    assert "\n" not in str(error.value)
