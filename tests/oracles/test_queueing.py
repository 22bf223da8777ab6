"""Waiting times against queueing theory. One seat (max_num_seqs = 1) makes an instance a single server.

Work is drawn as tokens, and a step's time is proportional to its tokens, so that a request's service time is known
before the run. Tolerances come from the run itself: three standard errors of its mean, by batch means, and the test
insists that these are narrow enough to fail.
"""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.latency.sources.constant import Constant
from llmsim.routers.least_outstanding import LeastOutstanding
from llmsim.routers.power_of_two import PowerOfTwo
from llmsim.routers.random import Random
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.fcfs import Fcfs
from llmsim.testing import present_s, serve
from llmsim.workload.contract import Workload

ONE_SEAT = {
    "fcfs": Fcfs(max_num_seqs=1, watermark=0.0),
    "chunked_prefill": ChunkedPrefill(max_num_seqs=1),
    "chunked_prefill in small chunks": ChunkedPrefill(max_num_seqs=1, max_num_batched_tokens=400),
}
TOKEN_S = 0.001
MEAN_TOKENS = 1000
MEAN_S = TOKEN_S * MEAN_TOKENS
STEPS = 2
BATCHES = 25


def by_prompt(gaps_s, service_tokens):
    """All of a request's work is its prompt; its only token leaves with the prompt's last chunk."""
    return Workload(np.cumsum(gaps_s), service_tokens, np.ones_like(service_tokens), "queueing")


def exponential_work(load, n, seed=0, servers=1):
    rng = np.random.default_rng(seed)
    gaps_s = rng.exponential(MEAN_S / (load * servers), n)
    return by_prompt(gaps_s, np.ceil(rng.exponential(MEAN_TOKENS - 0.5, n)).astype(np.int64))


def constant_work(load, n, seed=0, servers=1):
    """Two steps of half the time: the prompt, and one token more."""
    rng = np.random.default_rng(seed)
    arrival_s = np.cumsum(rng.exponential(MEAN_S / (load * servers), n))
    return Workload(arrival_s, np.full(n, 8), np.full(n, STEPS), "queueing")


def waits_s(requests, scheduler, **options):
    if (requests.output_tokens > 1).any():
        latency = Constant(step_s=MEAN_S / STEPS)
    else:
        latency = Constant(step_s=0.0, prefill_token_s=TOKEN_S, decode_seq_s=1.0)
    record = serve(requests, scheduler, latency=latency, num_gpu_blocks=10_000, **options)
    return record, record.requests["first_scheduled_s"] - record.requests["arrival_s"]


def md1_s(load):
    """M/D/1 mean wait (Pollaczek-Khinchine): load / (2 (1 - load)) service times."""
    return load / (2 * (1 - load)) * MEAN_S


def mm1_s(load):
    """M/M/1 mean wait: load / (1 - load) service times."""
    return load / (1 - load) * MEAN_S


def assert_mean(sample_s, theory_s, allowance=0.0):
    batches = np.array([batch.mean() for batch in np.array_split(sample_s, BATCHES)])
    error_s = batches.std(ddof=1) / np.sqrt(BATCHES)

    assert error_s < 0.05 * theory_s, "too short a run to see anything"
    assert abs(sample_s.mean() - theory_s) < 3 * error_s + allowance * theory_s


@pytest.mark.parametrize(("policy", "load"), [("fcfs", 0.3), ("fcfs", 0.6), ("chunked_prefill", 0.6)])
def test_mm1_waits(policy, load):
    _, wait_s = waits_s(exponential_work(load, 40_000), ONE_SEAT[policy])

    assert_mean(wait_s, mm1_s(load))


@pytest.mark.parametrize(("policy", "load"), [("fcfs", 0.3), ("fcfs", 0.6), ("chunked_prefill", 0.6)])
def test_md1_waits(policy, load):
    _, wait_s = waits_s(constant_work(load, 20_000), ONE_SEAT[policy])

    assert_mean(wait_s, md1_s(load))


@pytest.mark.parametrize("policy", ONE_SEAT)
def test_every_wait_follows_lindley(policy):
    """W(n+1) = max(0, W(n) + S(n) - A(n+1)) (Lindley 1952): no statistics, each wait of the run."""
    requests = exponential_work(0.9, 1_000)
    _, wait_s = waits_s(requests, ONE_SEAT[policy])
    expected = np.zeros(len(requests))
    gap_s, service_s = np.diff(requests.arrival_s), requests.prompt_tokens * TOKEN_S
    for n in range(len(requests) - 1):
        expected[n + 1] = max(0.0, expected[n] + service_s[n] - gap_s[n])

    assert wait_s == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("stretches", [True, False])
@pytest.mark.parametrize("seats", [1, 8])
def test_littles_law_from_independent_columns(seats, stretches):
    """Numbers in system come from the steps table, times in system from the requests table: L = lambda W."""
    scheduler = ChunkedPrefill(max_num_seqs=seats, max_num_batched_tokens=400)
    record, _ = waits_s(constant_work(0.9, 1_500), scheduler, stretches=stretches)
    stay_s = record.requests["end_s"] - record.requests["arrival_s"]
    number = present_s(record) / record.end_s
    rate_per_s = len(stay_s) / record.end_s

    assert number == pytest.approx(rate_per_s * stay_s.mean(), rel=1e-9)


def test_poisson_split_at_random_is_poisson():
    """k instances behind a random router are k independent M/D/1 queues of the same load."""
    load, servers = 0.6, 4
    requests = constant_work(load, 24_000, servers=servers)
    record, wait_s = waits_s(requests, ONE_SEAT["fcfs"], instances=servers, router=Random())
    share = np.bincount(record.requests["instance"]) / len(requests)

    assert share == pytest.approx(1 / servers, abs=4 * np.sqrt(0.25 * 0.75 / len(requests)))
    assert_mean(wait_s, md1_s(load))


def test_looking_at_more_queues_shortens_waits():
    """Join the shortest queue < power of two choices < random, by many standard errors of replications."""
    load, servers, seeds = 0.9, 8, range(5)
    runs = [exponential_work(load, 1_500, seed, servers) for seed in seeds]
    means = {
        router: np.array([waits_s(r, ONE_SEAT["fcfs"], instances=servers, router=router)[1].mean() for r in runs])
        for router in (LeastOutstanding(), PowerOfTwo(), Random())
    }
    shortest, two, random = means.values()
    for less, more in ((shortest, two), (two, random)):
        gain = more - less  # the same requests in both: paired

        assert gain.mean() > 4 * gain.std(ddof=1) / np.sqrt(len(seeds))


def test_power_of_two_meets_the_supermarket_model():
    """Mean time in system of many M/M/1 servers, two choices: sum over i of load^(2^i - 2) (Mitzenmacher 2001).

    The formula is the limit of many servers; 100 of them stay about half a per cent longer at this load.
    """
    load, servers, n = 0.8, 100, 20_000
    requests = exponential_work(load, n, servers=servers)
    record, _ = waits_s(requests, ONE_SEAT["fcfs"], instances=servers, router=PowerOfTwo())
    stay_s = (record.requests["end_s"] - record.requests["arrival_s"])[n // 8 :]  # it starts empty
    expected = MEAN_S * sum(load ** (2**i - 2) for i in range(1, 8))

    assert_mean(stay_s, expected, allowance=0.01)
