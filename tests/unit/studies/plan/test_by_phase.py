"""A day's load by its phases, against what is counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.studies.plan.by_phase import Phase, RequestsOfDays, by_phase


def days(count: int, late: int, seed: int) -> RequestsOfDays:
    """So many days of 100 s, 400 requests in the first half and 200 in the second; `late` of the first miss the SLO."""
    rng = np.random.default_rng(seed)
    arrival_s, ttft_s = [], []
    for day in range(count):
        first, second = rng.uniform(0, 50, 400), rng.uniform(50, 100, 200)
        arrival_s += [100 * day + first, 100 * day + second]
        ttft_s += [np.where(np.arange(400) < late, 3.0, 1.0), np.full(200, 0.5)]
    arrived, waited = np.concatenate(arrival_s), np.concatenate(ttft_s)
    order = np.argsort(arrived)
    return RequestsOfDays(arrived[order], waited[order], waited[order] <= 2.0)


def test_each_phase_has_its_own_rate_p99_and_attainment() -> None:
    first, second = by_phase([days(3, 8, 0), days(2, 8, 1)], 100.0, 2)

    assert (first.start_s, first.end_s, second.start_s, second.end_s) == (0.0, 50.0, 50.0, 100.0)
    assert (first.rate_per_s, second.rate_per_s) == (8.0, 4.0)  # 5 days of 400 and of 200 requests in 50 s
    assert first.ttft_p99_s is not None
    assert second.ttft_p99_s is not None
    assert (first.ttft_p99_s.estimate, second.ttft_p99_s.estimate) == (3.0, 0.5)  # 2 % of the first are late
    assert first.attainment is not None
    assert first.attainment.estimate == pytest.approx(0.98)
    assert second.attainment is not None
    assert second.attainment.estimate == 1.0


def test_days_are_taken_together_where_one_has_too_few_requests_for_a_p99() -> None:
    few = RequestsOfDays(np.arange(0.0, 1000.0, 10.0), np.ones(100), None)  # 10 days of 10 requests

    (phase,) = by_phase([few], 100.0, 1)

    assert phase.ttft_p99_s is None or not phase.ttft_p99_s.bounded
    assert phase.attainment is None


def test_a_phase_in_which_nothing_comes_says_nothing() -> None:
    morning = RequestsOfDays(np.array([1.0, 2.0, 101.0, 102.0]), np.ones(4), np.ones(4, bool))

    evening = by_phase([morning], 100.0, 2)[1]

    assert evening == Phase(50.0, 100.0, 0.0, None, None)


def test_a_phase_is_read_as_it_was_written() -> None:
    (phase,) = by_phase([days(5, 8, 2)], 100.0, 1)

    assert Phase.from_dict(phase.to_dict()) == phase
