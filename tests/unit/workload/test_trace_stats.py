"""Statistics of a workload, by hand."""

from __future__ import annotations

import json
from math import sqrt

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.workload.contract import Workload
from llmsim.workload.trace_stats import arrival_counts, describe


def workload(*arrival_s, prompt=None, output=None):
    n = len(arrival_s)
    ones = np.ones(n, np.int64)
    return Workload(
        np.array(arrival_s, float),
        ones if prompt is None else np.array(prompt),
        ones if output is None else np.array(output),
        "by hand",
    )


def test_rates_and_burstiness_by_hand():
    stats = describe(workload(5, 6, 9, 25, 26, 45), bin_s=10.0)

    # Bins: [0, 10) 3, [10, 20) 0, [20, 30) 2, [30, 40) 0, and [40, 50) 1, which is cut short.
    gaps = np.array([1, 3, 16, 1, 19])
    assert stats.requests == 6
    assert stats.duration_s == 45 - 5
    assert stats.mean_rate_per_s == pytest.approx(5 / 40)
    assert stats.gap_cv == pytest.approx(sqrt(((gaps - 8) ** 2).sum() / 5) / 8)
    assert stats.peak_rate_per_s == pytest.approx(3 / 10)
    mean = (3 + 0 + 2 + 0) / 4
    variance = ((3 - mean) ** 2 + mean**2 + (2 - mean) ** 2 + mean**2) / 3
    assert stats.dispersion == pytest.approx(variance / mean)


def test_rates_in_twelfths_by_hand():
    rates = describe(workload(0, 1, 1.5, 24)).rates_per_s

    assert rates == [3 / 2, *[0] * 10, 1 / 2]
    assert describe(workload(3, 3)).rates_per_s is None


def test_arrival_counts_add_up():
    assert arrival_counts(workload(5, 6, 9, 25, 26, 45), bin_s=10.0).tolist() == [3, 0, 2, 0, 1]
    with pytest.raises(InputError, match="bin_s = 0: expected"):
        arrival_counts(workload(1.0), bin_s=0)


def test_token_statistics_by_hand():
    prompt = describe(workload(0, 1, 2, 3, 4, prompt=[10, 50, 20, 40, 30])).prompt_tokens

    assert prompt.mean == (10 + 20 + 30 + 40 + 50) / 5
    assert (prompt.p50, prompt.p90, prompt.p99) == pytest.approx((30, 40 + 0.6 * 10, 40 + 0.96 * 10))
    assert (prompt.max, prompt.total) == (50, 150)


@pytest.mark.parametrize("arrivals", [(3.0,), (3.0, 3.0)])
def test_what_cannot_be_told_is_none_and_json_takes_it(arrivals):
    stats = describe(workload(*arrivals))

    assert [stats.mean_rate_per_s, stats.gap_cv, stats.peak_rate_per_s, stats.dispersion] == [None] * 4
    assert json.loads(json.dumps(stats.to_dict(), allow_nan=False))["prompt_tokens"]["total"] == len(arrivals)
