"""Waits behind a queue that is not first come first served, against Cobham's and Phipps's formulas.

One seat makes an instance a single server, every step takes 50 ms and emits one token: a request of n output
tokens is served in n steps. Of M/G/1 with classes that are served in order and never interrupted, class k waits
W_k = W_0 / ((1 - s_{k-1}) (1 - s_k)) in the mean, s_k the load of the classes up to k and W_0 = rate E[S²] / 2
(Cobham, Operations Research 2, 1954). Shortest job first is a class for each length (Phipps, the same, 1956).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmsim.latency.sources.constant import Constant
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.earliest_token_deadline import EarliestTokenDeadline
from llmsim.schedulers.priority import Priority
from llmsim.schedulers.shortest_predicted_first import ShortestPredictedFirst
from llmsim.testing import serve
from llmsim.workload.classes import Classes
from llmsim.workload.contract import Workload
from llmsim.workload.prediction import predict

TOKEN_S = 0.05
LENGTHS = np.array([2, 10, 20, 80])
SHARES = np.array([0.4, 0.3, 0.2, 0.1])
MEAN_S = TOKEN_S * float(LENGTHS @ SHARES)
BATCHES = 25


def drawn(load, n, seed=0):
    rng = np.random.default_rng(seed)
    arrival_s = np.cumsum(rng.exponential(MEAN_S / load, n))
    return Workload(arrival_s, np.ones(n, np.int64), rng.choice(LENGTHS, n, p=SHARES), "M/G/1")


def predicted(requests, **predictor):
    told = predict(np.random.default_rng(5), requests.output_tokens, **predictor)
    return replace(requests, predicted_output_tokens=told)


def waits_s(requests, scheduler):
    record = serve(requests, scheduler, latency=Constant(step_s=TOKEN_S), num_gpu_blocks=10_000)
    return record.requests["first_scheduled_s"] - record.requests["arrival_s"]


def cobham_s(load, classes):
    """Mean wait of each class of (share of all requests, mean length, mean squared length), in order of service."""
    rate_per_s = load / MEAN_S
    first_s = rate_per_s * sum(share * square for share, _, square in classes) * TOKEN_S**2 / 2
    below = np.cumsum([0.0, *(rate_per_s * share * mean * TOKEN_S for share, mean, _ in classes)])
    return first_s / ((1 - below[:-1]) * (1 - below[1:]))


def mixed(numbers):
    """One class of several of the lengths."""
    share = SHARES[numbers].sum()
    return share, LENGTHS[numbers] @ SHARES[numbers] / share, LENGTHS[numbers] ** 2 @ SHARES[numbers] / share


def assert_mean(sample_s, theory_s):
    batches = np.array([batch.mean() for batch in np.array_split(sample_s, BATCHES)])
    error_s = batches.std(ddof=1) / np.sqrt(BATCHES)

    assert error_s < 0.09 * theory_s, "too short a run to see anything"
    assert abs(sample_s.mean() - theory_s) < 4 * error_s  # ten comparisons, t with 24 degrees of freedom


@pytest.mark.parametrize("load", [0.5, 0.75])
def test_shortest_job_first_waits_as_phipps_says(load):
    requests = predicted(drawn(load, 14_000), predictor="oracle")
    wait_s = waits_s(requests, ShortestPredictedFirst(max_num_seqs=1))
    theory_s = cobham_s(load, [mixed([k]) for k in range(4)])

    assert_mean(wait_s, theory_s @ SHARES)
    for length, expected_s in zip(LENGTHS, theory_s, strict=True):
        assert_mean(wait_s[requests.output_tokens == length], expected_s)


def test_buckets_are_priority_classes():
    """Two buckets, always the right one: first come first served within each."""
    load = 0.75
    requests = predicted(drawn(load, 14_000), predictor="bucketed", edges_tokens=[12])
    wait_s = waits_s(requests, ShortestPredictedFirst(max_num_seqs=1))
    short_s, long_s = cobham_s(load, [mixed([0, 1]), mixed([2, 3])])

    assert_mean(wait_s[requests.output_tokens <= 12], short_s)
    assert_mean(wait_s[requests.output_tokens > 12], long_s)


def test_two_classes_wait_as_cobham_says():
    """Of equal lengths, a third of the requests urgent: they wait less, the others more, as much as Cobham says."""
    load, n = 0.75, 16_000
    of_request = (np.random.default_rng(9).random(n) >= 1 / 3).astype(np.int64)
    requests = replace(drawn(load, n), classes=Classes(of_request, ("urgent", "other"), (-1, 3)))
    wait_s = waits_s(requests, Priority(max_num_seqs=1))
    share, mean, square = mixed(range(4))
    urgent_s, other_s = cobham_s(load, [(share / 3, mean, square), (2 * share / 3, mean, square)])

    assert_mean(wait_s[of_request == 0], urgent_s)
    assert_mean(wait_s[of_request == 1], other_s)


def test_a_worse_prediction_waits_longer_until_it_is_no_better_than_none():
    """The same requests and the same errors, scaled: paired. A prediction of other requests is none at all."""
    runs = [drawn(0.75, 1_500, seed) for seed in range(4)]
    dial = [0.0, 0.5, 1.0, 2.0, 4.0]
    sjf = ShortestPredictedFirst(max_num_seqs=1)
    means_s = np.array(
        [[waits_s(predicted(run, predictor="noisy", sigma=s), sjf).mean() for s in dial] for run in runs]
    )
    fcfs_s = np.array([waits_s(run, ChunkedPrefill(max_num_seqs=1)).mean() for run in runs])
    shuffled = [replace(run, predicted_output_tokens=np.roll(run.output_tokens, 700)) for run in runs]
    none_s = np.array([waits_s(run, sjf).mean() for run in shuffled])

    assert (np.diff(means_s.mean(axis=0)) > 0).all()
    assert (means_s[:, 0] < means_s[:, -1]).all()
    assert means_s[:, -1].mean() < fcfs_s.mean()
    difference_s = none_s - fcfs_s  # the mean wait of an order that knows nothing of lengths is that of any other
    assert abs(difference_s.mean()) < 3 * difference_s.std(ddof=1) / np.sqrt(len(runs))
    assert abs(difference_s.mean()) < 0.1 * fcfs_s.mean()


def test_aging_bounds_the_longest_wait():
    requests = predicted(drawn(0.9, 2_000), predictor="oracle")
    longest_s = [
        waits_s(requests, ShortestPredictedFirst(max_num_seqs=1, aging_tokens_per_s=a)).max() for a in (0, 20.0)
    ]
    first_come_s = waits_s(requests, ChunkedPrefill(max_num_seqs=1))
    wholly_s = waits_s(requests, ShortestPredictedFirst(max_num_seqs=1, aging_tokens_per_s=1e9))

    assert longest_s[1] < longest_s[0]
    assert wholly_s.tolist() == first_come_s.tolist()  # everybody ages so fast that only the arrival counts


def test_first_deadlines_come_in_the_order_of_arrival():
    requests = drawn(0.75, 1_000)

    assert waits_s(requests, EarliestTokenDeadline(max_num_seqs=1)).tolist() == (
        waits_s(requests, ChunkedPrefill(max_num_seqs=1)).tolist()
    )
