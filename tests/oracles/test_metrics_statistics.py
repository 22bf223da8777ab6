"""Kaplan-Meier and other statistics against examples worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.metrics.request_latency import summarise_waits, ttft_s
from llmsim.metrics.summary import pooled_summary, summary
from llmsim.record import Timelines
from llmsim.request import Outcome
from llmsim.statistics.fairness import jain_index
from llmsim.statistics.percentiles import Parts
from llmsim.statistics.survival import kaplan_meier, restricted_mean, survival_percentile


def test_kaplan_meier_by_hand() -> None:
    """Waits 1, 2, 2+, 4, 5+, 7 (+ censored): at risk 6, 5, 3, 1 at the events 1, 2, 4, 7."""
    time_s = np.array([4.0, 1.0, 5.0, 2.0, 2.0, 7.0])
    observed = np.array([True, True, False, True, False, True])
    times, waiting = kaplan_meier(time_s, observed)

    s1, s2, s4, s7 = 5 / 6, 5 / 6 * 4 / 5, 5 / 6 * 4 / 5 * 2 / 3, 0.0
    assert times.tolist() == [1.0, 2.0, 4.0, 7.0]
    assert waiting == pytest.approx([s1, s2, s4, s7])
    assert survival_percentile(times, waiting, 50) == 4.0
    assert survival_percentile(times, waiting, 99) == 7.0
    area = 1 * 1 + s1 * 1 + s2 * 2 + s4 * 3
    assert restricted_mean(times, waiting, 7.0) == pytest.approx(area)


def test_a_client_timeout_does_not_improve_the_tail() -> None:
    """Ten waits of 1 to 10 s, all given up at 6.5 s: the completed ones alone would claim a P90 of 5.5 s."""
    waits = np.arange(1.0, 11.0)
    cut = waits > 6.5
    timelines = Timelines.from_token_times(
        np.zeros(10),
        [[] if c else [w] for w, c in zip(waits, cut, strict=True)],
        end_s=np.where(cut, 6.5, waits),
        outcome=np.where(cut, Outcome.CANCELLED, Outcome.FINISHED).tolist(),
    )
    found = summarise_waits(timelines, ttft_s(timelines)).to_dict()

    assert np.percentile(waits[~cut], 90) == 5.5
    expected = {"mean": (1 + 2 + 3 + 4 + 5 + 6 + 4 * 6.5) / 10, "p50": 5.0, "p90": None, "p99": None}
    assert found == pytest.approx(expected | {"n": 6, "censored": 4})


def test_summary_without_values_is_null() -> None:
    nothing = {"mean": None, "p50": None, "p90": None, "p99": None, "n": 0, "censored": 0}

    assert summary(np.empty(0)).to_dict() == nothing
    assert pooled_summary(Parts([(np.empty(0), np.empty(0, np.int64))]), 0.0).to_dict() == nothing
    assert summary(np.empty(0), np.array([3.0])).to_dict() == nothing | {"censored": 1}


def test_uncensored_summary_is_numpys() -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0])
    found = summary(values).to_dict()

    assert found == pytest.approx(
        {"mean": 15 / 4, "p50": 3.0, "p90": 4 + 0.7 * 4, "p99": 4 + 0.97 * 4, "n": 4, "censored": 0}
    )


def test_jain() -> None:
    assert jain_index(np.array([2.0, 2.0, 2.0])) == pytest.approx(1.0)
    assert jain_index(np.array([5.0, 0.0, 0.0, 0.0])) == pytest.approx(1 / 4)
    assert jain_index(np.array([1.0, 3.0])) == pytest.approx((1 + 3) ** 2 / (2 * (1 + 9)))
