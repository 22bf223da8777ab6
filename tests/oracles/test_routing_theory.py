"""Routers on fresh and on old news against a simulation of ten lines, queueing theory, and Mitzenmacher's findings.

One seat (max_num_seqs = 1) makes an instance a single server, and work is a prompt whose time is proportional to its
tokens: k instances are k queues of the textbook.
"""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.cluster.fleet import ORACLE, Reports
from llmsim.latency.sources.constant import Constant
from llmsim.routers.least_outstanding import LeastOutstanding
from llmsim.routers.power_of_two import PowerOfTwo
from llmsim.routers.random import Random
from llmsim.schedulers.fcfs import Fcfs
from llmsim.testing import serve
from llmsim.workload.contract import Workload

TOKEN_S, MEAN_TOKENS = 0.001, 1000
SERVERS = 10


def exponential_work(load, n, seed=0):
    """Poisson arrivals, exponential service with a mean of 1 s."""
    rng = np.random.default_rng(seed)
    arrival_s = np.cumsum(rng.exponential(1 / (load * SERVERS), n))
    work = np.ceil(rng.exponential(MEAN_TOKENS - 0.5, n)).astype(np.int64)
    return Workload(arrival_s, work, np.ones_like(work), "queueing")


def routed(requests, router, reports=ORACLE):
    latency = Constant(step_s=0.0, prefill_token_s=TOKEN_S, decode_seq_s=1.0)
    one_seat = Fcfs(max_num_seqs=1, watermark=0.0)
    return serve(
        requests,
        one_seat,
        latency=latency,
        num_gpu_blocks=10_000,
        instances=SERVERS,
        router=router,
        reports=reports,
    ).requests


def stay_s(requests, router, reports=ORACLE):
    """Mean time in the system after a warm-up."""
    rows = routed(requests, router, reports)
    return (rows["end_s"] - rows["arrival_s"])[len(requests) // 10 :].mean()


def by_hand(requests, age_s, count_own_sends):
    """Join the shortest of the queues as the board shows them, lowest number first; age 0 is a board without delay."""
    ends_s = [[] for _ in range(SERVERS)]
    sent_s = [[] for _ in range(SERVERS)]
    chosen = []
    for now_s, tokens in zip(requests.arrival_s.tolist(), requests.prompt_tokens.tolist(), strict=True):
        board_s = np.floor(now_s / age_s) * age_s if age_s else np.inf
        known = []
        for sent, ends in zip(sent_s, ends_s, strict=True):
            came = len(sent) if count_own_sends or not age_s else sum(t < board_s for t in sent)
            known.append(came - sum(t < min(board_s, now_s) for t in ends))
        server = known.index(min(known))
        begin_s = max([now_s, *ends_s[server][-1:]])
        ends_s[server].append(begin_s + tokens * TOKEN_S)
        sent_s[server].append(now_s)
        chosen.append(server)
    return chosen


@pytest.mark.parametrize(
    ("age_s", "count_own_sends"), [(0.0, True), (0.0, False), (0.25, True), (0.25, False), (2.0, True), (2.0, False)]
)
def test_the_shortest_queue_of_the_latest_board_is_joined(age_s, count_own_sends):
    requests = exponential_work(0.85, 600)
    rows = routed(requests, LeastOutstanding(), Reports(age_s, count_own_sends))

    assert rows["instance"].tolist() == by_hand(requests, age_s, count_own_sends)


def test_random_split_is_m_m_1_and_two_choices_and_the_shortest_queue_are_better():
    """Mean stay of M/M/1 at load 0.8 is 5 s; of two choices, for many servers, sum of rho^(2^i - 2): 1.95 s."""
    rho = 0.8
    stays_s = {
        router: np.array([stay_s(exponential_work(rho, 4000, seed), router) for seed in range(5)])
        for router in (Random(), PowerOfTwo(), LeastOutstanding())
    }
    by_chance, of_two, of_all = stays_s.values()
    within = 3 * by_chance.std(ddof=1) / np.sqrt(len(by_chance))

    assert within < 1.5
    assert abs(by_chance.mean() - 1 / (1 - rho)) < within
    two_choices_s = sum(rho ** (2**i - 2) for i in range(1, 8))
    assert of_two.mean() == pytest.approx(two_choices_s, rel=0.15)  # ten servers, not many
    assert (of_all < of_two).all()
    assert (of_two < by_chance).all()


def test_old_news_makes_the_shortest_queue_worse_than_chance_and_two_choices_suffer_less():
    """Mitzenmacher (IEEE TPDS 2000), periodic update: fresh news is best used in full, old news hardly at all."""
    fresh, old = Reports(0.1, count_own_sends=False), Reports(10.0, count_own_sends=False)
    seeds = range(3)

    def mean_s(router, reports):
        return np.array([stay_s(exponential_work(0.8, 2000, seed), router, reports) for seed in seeds])

    by_chance = mean_s(Random(), ORACLE)
    shortest, of_two = mean_s(LeastOutstanding(), fresh), mean_s(PowerOfTwo(), fresh)
    shortest_by_old, of_two_by_old = mean_s(LeastOutstanding(), old), mean_s(PowerOfTwo(), old)
    assert (shortest < of_two).all()
    assert (of_two < by_chance).all()
    assert (shortest_by_old > 2 * by_chance).all()
    assert (of_two_by_old < 0.5 * shortest_by_old).all()


def test_counting_own_sends_makes_up_for_old_news_where_one_router_sends_all():
    requests = exponential_work(0.8, 4000)
    by_chance = stay_s(requests, Random())

    assert stay_s(requests, LeastOutstanding(), Reports(10.0, count_own_sends=False)) > 2 * by_chance
    assert stay_s(requests, LeastOutstanding(), Reports(10.0)) < by_chance
