"""Plans against Erlang's delay formula (1917): one instance whose k seats are the k servers of an M/M/k queue.

Steps take the same time whoever is in them, and output lengths are geometric, so a request's time in its seat is
exponential up to a step, and known before the run: none of the theory below is in the simulator.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from llmsim.cluster import InstanceSpec, simulate
from llmsim.latency.sources.constant import Constant
from llmsim.routers.round_robin import RoundRobin
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.statistics import judge
from llmsim.statistics.shares import clusters_of
from llmsim.studies.plan import CARRIES, FAILS, Evaluator, Rules, boundary
from llmsim.studies.plan.measured_runs import MeasuredPoint
from llmsim.studies.plan.targets import Target
from llmsim.workload.contract import Workload

STEP_S, MEAN_STEPS = 0.01, 100
MEAN_S = STEP_S * MEAN_STEPS


def erlang_c(servers, load):
    """Probability of waiting in M/M/k offered `load` Erlangs."""
    terms = [load**n / math.factorial(n) for n in range(servers)]
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(terms) + last)


def mean_wait_s(servers, load):
    return math.inf if servers <= load else erlang_c(servers, load) * MEAN_S / (servers - load)


def p90_wait_s(servers, load):
    """The wait exceeds t with probability C exp(-(k - load) t / mean service)."""
    if servers <= load:
        return math.inf
    return max(0.0, math.log(erlang_c(servers, load) / 0.1) * MEAN_S / (servers - load))


TARGETS = [Target("queueing_s.p90", at_least=False, bound=0.35)]


def queue(servers, rate_per_s, requests, seed):
    """Run an M/M/k queue on the engine; return its waits after warm-up if it is steady."""
    rng = np.random.default_rng(seed)
    arrival_s = np.cumsum(rng.exponential(1 / rate_per_s, requests))
    steps = rng.geometric(1 / MEAN_STEPS, requests)
    seats = InstanceSpec(ChunkedPrefill(max_num_seqs=servers), Constant(step_s=STEP_S), 100_000, 10_000_000)
    record = simulate(Workload(arrival_s, np.full(requests, 4), steps, "queueing"), [seats], RoundRobin(), rng)
    scheduled_s = record.requests["first_scheduled_s"]
    verdict = judge(arrival_s, scheduled_s, record.requests["end_s"])
    wait_s = (scheduled_s - arrival_s)[arrival_s > arrival_s[0] + verdict.evidence.get("warm_up_s", 0.0)]
    values = {"queueing_s.mean": float(wait_s.mean()), "queueing_s.p90": float(np.percentile(wait_s, 90))}
    missed = {str(target): clusters_of(wait_s > target.bound) for target in TARGETS if target.most_missing is not None}
    return MeasuredPoint(
        seed,
        requests,
        verdict.answer,
        verdict.reason,
        values if verdict.steady else {},
        verdict.evidence,
        missed,
    )


def planner(target, most_seeds=12, most_requests=30_000):
    rules = Rules(0.95, least_seeds=3, most_seeds=most_seeds, first_requests=2000, most_requests=most_requests)
    return Evaluator(rules, [target], lambda runs: [queue(*run) for run in runs])


def fewest_servers(target, load):
    evaluate, found = planner(target), {}

    def holds(servers):
        rate_per_s = load / MEAN_S
        found[servers] = evaluate(servers, rate_per_s, lambda n, seed: (servers, rate_per_s, n, seed))
        return found[servers].answer == CARRIES

    good, bad = boundary(
        holds,
        3,
        easier=lambda k: 2 * k,
        harder=lambda k: k - 1 if k > 1 else None,
        between=lambda good, bad: (good + bad) // 2 if good - bad > 1 else None,
    )
    return found[good], found[bad]


@pytest.mark.parametrize(
    ("load", "metric", "theory", "bound"),
    [
        (4.0, "queueing_s.mean", mean_wait_s, 0.30),
        (4.0, "queueing_s.mean", mean_wait_s, 0.06),
        (5.0, "queueing_s.p90", p90_wait_s, 0.35),
    ],
)
def test_a_plan_finds_the_servers_that_erlang_c_gives(load, metric, theory, bound):
    needed = next(k for k in range(1, 100) if theory(k, load) <= bound)
    carries, neighbour = fewest_servers(Target(metric, at_least=False, bound=bound), load)

    assert theory(needed, load) < 0.8 * bound, "too close to tell"
    assert theory(needed - 1, load) > 1.2 * bound, "too close to tell"
    assert (carries.instances, carries.answer) == (needed, CARRIES)
    assert (neighbour.instances, neighbour.answer) == (needed - 1, FAILS)
    assert carries.probability >= 0.95
    assert neighbour.probability <= 0.05


def test_waits_of_the_queue_are_those_of_the_formula():
    """The oracle itself: what the plan measures is M/M/k, within three standard errors and a step."""
    runs = [queue(6, 4.0 / MEAN_S, 10_000, seed) for seed in range(4)]
    for metric, theory in (("queueing_s.mean", mean_wait_s), ("queueing_s.p90", p90_wait_s)):
        values = np.array([run.values[metric] for run in runs])
        error = values.std(ddof=1) / math.sqrt(len(values))

        assert error < 0.1 * theory(6, 4.0), "too short a run to see anything"
        assert abs(values.mean() - theory(6, 4.0)) < 3 * error + STEP_S


def test_fewer_servers_than_erlangs_are_never_said_to_carry():
    evaluate = planner(Target("queueing_s.mean", at_least=False, bound=1e6), most_seeds=4, most_requests=10_000)
    rate_per_s = 4.0 / MEAN_S
    answers = {k: evaluate(k, rate_per_s, lambda n, seed, k=k: (k, rate_per_s, n, seed)).answer for k in (3, 4, 5)}

    assert answers[3] == FAILS
    assert answers[4] != CARRIES
    assert answers[5] == CARRIES
