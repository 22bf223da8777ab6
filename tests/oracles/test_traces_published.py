"""Public traces against the numbers published with them (or counted in them by other means)."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.workload.trace_stats import describe
from llmsim.workload.traces import read_trace
from places import DATA, needs

pytestmark = needs("traces")

AZURE_CONV = DATA / "traces" / "azure2023" / "AzureLLMInferenceTrace_conv.csv"
AZURE_CODE = DATA / "traces" / "azure2023" / "AzureLLMInferenceTrace_code.csv"


def percentiles(tokens):
    return [int(tokens.p50), int(tokens.p90), int(tokens.p99)]


def test_azure_conversation_trace_has_its_published_shape():
    stats = describe(read_trace(AZURE_CONV))

    assert stats.requests == 19_366
    assert stats.mean_rate_per_s == pytest.approx(5.53, abs=0.005)
    assert stats.gap_cv == pytest.approx(1.09, abs=0.005)
    assert percentiles(stats.prompt_tokens) == [1020, 2734, 4142]
    assert percentiles(stats.output_tokens) == [129, 424, 601]


def test_azure_code_trace_has_its_published_shape():
    stats = describe(read_trace(AZURE_CODE))

    assert stats.requests == 8_819
    assert stats.mean_rate_per_s == pytest.approx(2.57, abs=0.005)
    assert stats.gap_cv == pytest.approx(13.2, abs=0.05)
    assert percentiles(stats.prompt_tokens) == [1469, 5187, 7436]
    assert percentiles(stats.output_tokens) == [13, 55, 251]


def test_azure_dates_become_seconds_from_the_first_request():
    workload = read_trace(AZURE_CONV, limit=3)

    # 18:15:46.6805900, 18:15:50.9951690, 18:15:51.2224670
    assert workload.arrival_s.tolist() == pytest.approx([0.0, 50.9951690 - 46.6805900, 51.2224670 - 46.6805900])
    assert workload.prompt_tokens.tolist() == [374, 396, 879]
    assert workload.output_tokens.tolist() == [44, 109, 55]


@pytest.mark.parametrize(("name", "requests"), [("conversation", 12_031), ("synthetic", 3_993)])
def test_mooncake_traces_have_their_published_counts(name, requests):
    workload = read_trace(DATA / "traces" / "mooncake" / f"{name}_trace.jsonl.gz")

    assert len(workload) == requests
    assert workload.source == f"trace {name}_trace.jsonl.gz (mooncake)"


def test_mooncake_conversation_arrivals_come_in_steps_of_three_seconds():
    workload = read_trace(DATA / "traces" / "mooncake" / "conversation_trace.jsonl.gz")

    assert np.median(np.diff(np.unique(workload.arrival_s))) == pytest.approx(3.0, abs=0.01)
    assert workload.prompt_tokens[:3].tolist() == [6758, 7322, 7236]
