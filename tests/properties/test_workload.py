"""What holds for every workload."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmsim import discovery
from llmsim.errors import InputError
from llmsim.workload.synthetic import ARRIVALS, LENGTHS, arrival_process, length_source
from llmsim.workload.traces import read_trace

OPTIONS = {
    "poisson": {},
    "constant": {},
    "gamma": {"burstiness": 0.3},
    "on_off": {"on_s": 2.0, "off_s": 7.0},
    "bursts": {"burst_s": 2.0, "every_s": 9.0},
    "diurnal": {"amplitude": 1.0, "period_s": 30.0, "peak_s": 3.0},
    "piecewise": {"from_s": [0.0, 2.0, 3.0], "rates_per_s": [1.0, 0.0, 5.0], "period_s": 7.0},
    "closed": {"concurrency": 3},
    "fixed": {"prompt_tokens": 5, "output_tokens": 6},
    "lognormal": {"prompt_mean_tokens": 3.0, "prompt_cv": 3.0, "output_mean_tokens": 40.0, "output_cv": 1.0},
}
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**32)
counts = st.integers(1, 300)
rows = st.lists(st.tuples(st.floats(0, 1e7), st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1, max_size=30)


@pytest.mark.parametrize("name", discovery.names(ARRIVALS))
@quick
@given(seed=seeds, n=counts, rate_per_s=st.floats(1e-3, 1e4))
def test_arrivals_ascend_from_above_zero_and_longer_runs_begin_alike(name, seed, n, rate_per_s):
    options = OPTIONS[name] | ({} if name in ("closed", "piecewise") else {"rate_per_s": rate_per_s})
    process = arrival_process(name, **options)
    arrival_s, longer_s = (process.times_s(np.random.default_rng(seed), requests) for requests in (n, n + 17))

    assert arrival_s.shape == (n,)
    assert (np.diff(arrival_s, prepend=0.0) >= 0).all()
    assert np.array_equal(longer_s[:n], arrival_s)


@pytest.mark.parametrize("name", discovery.names(LENGTHS))
@quick
@given(seed=seeds, n=counts)
def test_lengths_are_at_least_one_and_longer_runs_begin_alike(name, seed, n):
    source = length_source(name, **OPTIONS.get(name, {}))
    drawn, longer = (source.tokens(np.random.default_rng(seed), requests) for requests in (n, n + 17))

    for tokens, more in zip(drawn, longer, strict=True):
        assert tokens.dtype == np.int64
        assert tokens.shape == (n,)
        assert tokens.min() >= 1
        assert np.array_equal(more[:n], tokens)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@quick
@given(rows=rows, zipped=st.booleans())
def test_written_traces_come_back_to_the_bit_in_order(tmp_path, kind, rows, zipped):
    names = ("arrival_s", "prompt_tokens", "output_tokens")
    if kind == "csv":
        text = "\n".join([",".join(names), *(",".join(map(repr, row)) for row in rows)])
    else:
        text = "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows)
    path = tmp_path / "trace"
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    workload = read_trace(path)

    back = zip(
        workload.arrival_s.tolist(),
        workload.prompt_tokens.tolist(),
        workload.output_tokens.tolist(),
        strict=True,
    )
    assert list(back) == sorted(rows, key=lambda row: row[0])


@quick
@given(rows=rows, cut=st.integers(0, 400), noise=st.binary(max_size=6))
def test_a_damaged_trace_gives_a_workload_or_one_line(tmp_path, rows, cut, noise):
    text = "arrival_s,prompt_tokens,output_tokens\n" + "\n".join(",".join(map(repr, row)) for row in rows)
    path = tmp_path / "trace"
    path.write_bytes(text.encode()[:cut] + noise + text.encode()[cut + 3 :])

    try:
        outcome = read_trace(path).source
    except InputError as error:
        outcome = str(error)
    assert "\n" not in outcome
